"""What the Hub tells of models: one by name, and those that a search finds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.hub import access
from tests.hub.card import base_models_of, tags_of
from tests.hub.large import Pointer
from tests.hub.routes import endpoint
from tests.hub.wire import Answer, Refusal, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub.server import LoopbackHub
    from tests.hub.store import Repository

_BRIEF = {"id", "modelId", "createdAt", "private", "downloads", "likes", "tags", "pipeline_tag", "library_name"}
_FULL = _BRIEF | {"author", "sha", "lastModified", "gated", "disabled", "siblings"}
_ALWAYS = {"id", "modelId"}
_LONGEST_PAGE = 1000
_DEFAULT_SORT = "createdAt"  # the Hub's own default is a score of what is trending


@endpoint("GET", "/api/models/{repo}")
@endpoint("GET", "/api/models/{repo}/revision/{revision}")
def model(hub: LoopbackHub, request: Request, repo: str, revision: str = "main") -> Answer:
    repository = access.to_know(hub, request, repo)
    commit = access.commit_of(repository, revision)
    facts = _facts(repository, commit)
    if wanted := request.fields.get("expand"):
        return Answer.json({name: value for name, value in facts.items() if name in _ALWAYS | set(wanted)})
    shown = {name: value for name, value in facts.items() if name in _FULL | {"cardData"}}
    if request.asks("blobs"):
        shown["siblings"] = _siblings_with_blobs(repository, commit)
    if request.asks("securityStatus"):
        shown["securityRepoStatus"] = _security(repository, commit)
    return Answer.json(shown)


@endpoint("GET", "/api/models")
def models(hub: LoopbackHub, request: Request) -> Answer:
    user = access.user_of(hub, request)
    found = [_facts(repository, access.commit_of(repository, "main")) for repository in hub.store.visible_to(user)]
    found = [facts for facts in found if _is_asked_for(request, facts)]
    by = request.field("sort") or _DEFAULT_SORT
    if found and by not in found[0]:
        raise Refusal(400, f"Can't sort by {by}")
    found.sort(key=lambda facts: facts[by], reverse=True)
    limit, at = int(request.field("limit") or _LONGEST_PAGE), int(request.field("cursor") or 0)
    shown = [_as_listed(request, facts) for facts in found[at : at + limit]]
    return Answer.json(shown, headers=_next_page(hub, request, at + limit) if at + limit < len(found) else None)


def _next_page(hub: LoopbackHub, request: Request, at: int) -> dict[str, str]:
    kept = "&".join(part for part in request.target.partition("?")[2].split("&") if part and not part.startswith("cursor="))
    return {"Link": f'<{hub.url}/api/models?{kept}&cursor={at}>; rel="next"'}


def _as_listed(request: Request, facts: dict[str, Any]) -> dict[str, Any]:
    if wanted := request.fields.get("expand"):
        names = _ALWAYS | set(wanted)
    else:
        names = (_FULL if request.asks("full") else _BRIEF) | ({"cardData"} if request.asks("cardData") else set())
    return {name: value for name, value in facts.items() if name in names}


def _is_asked_for(request: Request, facts: dict[str, Any]) -> bool:
    tests: dict[str, Callable[[str], bool]] = {
        "author": lambda author: facts["author"] == author,
        "search": lambda text: text.lower() in facts["id"].lower(),
        "pipeline_tag": lambda tag: facts["pipeline_tag"] == tag,
        "gated": lambda _: bool(facts["gated"]) is request.asks("gated"),
    }
    asked = {name: value for name in tests if (value := request.field(name))}
    return set(request.fields.get("filter", ())) <= set(facts["tags"]) and all(tests[name](value) for name, value in asked.items())


def _facts(repository: Repository, commit: str) -> dict[str, Any]:
    """All that there is to tell of a model at a commit."""
    standing, paths, head = repository.standing, list(repository.files(commit)), repository.head_of_card(commit)
    return {
        "id": repository.name,
        "modelId": repository.name,
        "author": repository.author,
        "sha": commit,
        "createdAt": moment(standing.created_at),
        "lastModified": moment(repository.git.log(commit, count=1)[0].when),
        "private": standing.private,
        "gated": standing.gated,
        "disabled": standing.disabled,
        "downloads": standing.downloads,
        "likes": standing.likes,
        "tags": tags_of(head, paths),
        "pipeline_tag": head.get("pipeline_tag"),
        "library_name": head.get("library_name"),
        "cardData": head or None,
        "baseModels": base_models_of(head, paths),
        "siblings": [{"rfilename": path} for path in paths],
    }


def _siblings_with_blobs(repository: Repository, commit: str) -> list[dict[str, Any]]:
    return [
        {"rfilename": file.path, "size": file.size, "blobId": file.oid, **(_lfs(file.pointer) if file.pointer else {})}
        for file in repository.files(commit).values()
    ]


def _lfs(pointer: Pointer) -> dict[str, Any]:
    return {"lfs": {"sha256": pointer.sha256, "size": pointer.size, "pointerSize": len(bytes(pointer))}}


def _security(repository: Repository, commit: str) -> dict[str, Any]:
    """A repository that no scanner has been through yet has an empty list of issues too."""
    standing = repository.standing
    issues = [{"path": path, "level": level} for path, level in standing.flagged.items() if path in repository.files(commit)]
    return {"scansDone": standing.scans_done, "filesWithIssues": issues if standing.scans_done else []}


def moment(when: int) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
