"""The way of a push: the card is looked at, each file is told how to travel, and one commit takes them all or none."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Any

from tests.hub import access
from tests.hub.card import CardError, read_head
from tests.hub.files import xet_connection
from tests.hub.repositories import BRANCH, PULL_REQUEST
from tests.hub.routes import endpoint
from tests.hub.store import MovedError, NewFile, Repository
from tests.hub.wire import Answer, Refusal, Request

if TYPE_CHECKING:
    from tests.hub.server import LoopbackHub

_UNFIT_NAMES = {"", ".", "..", ".git"}


@endpoint("POST", "/api/validate-yaml")
def validate_yaml(hub: LoopbackHub, request: Request) -> Answer:
    try:
        head = read_head(request.json()["content"])
    except CardError as error:
        return Answer.json({"errors": [{"message": str(error)}], "warnings": []}, 400)
    warnings = [] if head else [{"message": "empty or missing yaml metadata in repo card"}]
    return Answer.json({"errors": [], "warnings": warnings})


@endpoint("POST", "/api/models/{repo}/preupload/{revision}")
def preupload(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Answer:
    repository, _ = access.to_write(hub, request, repo)
    commit = access.commit_of(repository, revision)
    asked, there = request.json()["files"], repository.files(commit)
    large = repository.goes_to_lfs(commit, {file["path"]: file["size"] for file in asked})
    ignored = repository.git.ignored(commit, [file["path"] for file in asked])
    # With the etag of what is there already, the client leaves out what hasn't changed.
    return Answer.json(
        {
            "files": [
                {
                    "path": path,
                    "uploadMode": "lfs" if path in large else "regular",
                    "shouldIgnore": path in ignored,
                    "oid": there[path].etag if path in there else None,
                }
                for path in (file["path"] for file in asked)
            ]
        }
    )


@endpoint("GET", "/api/models/{repo}/xet-write-token/{revision}")
def xet_write_token(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Answer:
    access.to_write(hub, request, repo)
    return xet_connection(hub.store.large.xet.connection())


@endpoint("POST", "/{repo}.git/info/lfs/objects/batch")
def lfs_batch(hub: LoopbackHub, request: Request, repo: str) -> Answer:
    access.to_write(hub, request, repo)
    return Answer.json({"transfer": "basic", "objects": [_lfs_object(hub, repo, one) for one in request.json()["objects"]]})


def _lfs_object(hub: LoopbackHub, repo: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What the client is to do with one object: nothing if it is here already."""
    known = {"oid": asked["oid"], "size": asked["size"]}
    if hub.store.large.has(asked["oid"]):
        return known
    # The upload comes without a token, so its address must be one that nobody can guess.
    ticket = secrets.token_urlsafe()
    hub.upload_tickets[ticket] = asked["oid"]
    actions = {"upload": {"href": f"{hub.url}/lfs-upload/{ticket}"}, "verify": {"href": f"{hub.url}/{repo}.git/info/lfs/verify"}}
    return {**known, "authenticated": True, "actions": actions}


@endpoint("PUT", "/lfs-upload/{ticket}")
def lfs_upload(hub: LoopbackHub, request: Request, ticket: str) -> Answer:
    wanted = hub.upload_tickets.get(ticket)
    if wanted is None:
        raise Refusal(403, "Signature does not match")
    if hashlib.sha256(request.body).hexdigest() != wanted:
        raise Refusal(400, "The content is not the one that was announced")
    hub.store.large.add(request.body)
    return Answer()


@endpoint("POST", "/{repo}.git/info/lfs/verify")
def lfs_verify(hub: LoopbackHub, request: Request, repo: str) -> Answer:
    access.to_write(hub, request, repo)
    asked = request.json()
    if not hub.store.large.arrived(asked["oid"], asked["size"]):
        raise Refusal(404, f"{asked['oid']} has not arrived")
    return Answer.json({})


@endpoint("POST", "/api/models/{repo}/commit/{revision}")
def commit(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Answer:
    repository, user = access.to_write(hub, request, repo)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    message = "\n\n".join(part for part in (header["summary"], header.get("description")) if part)
    with repository.lock:
        refs, base = repository.git.refs(), _ref_of(revision)
        if base not in refs:
            raise Refusal(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
        if header.get("parentCommit", refs[base]) != refs[base]:
            raise _moved()
        target = _new_pull_request(refs) if request.asks("create_pr") else base
        changes = _changes(repository, refs[base], lines)
        try:
            oid = repository.commit(changes, target, message, user, parent=refs[base])
        except MovedError as error:
            raise _moved() from error
    made = {"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{repo}/commit/{oid}", "hookOutput": ""}
    if target != base:
        made["pullRequestUrl"] = f"{hub.url}/{repo}/discussions/{target.removeprefix(PULL_REQUEST)}"
    return Answer.json(made)


def _moved() -> Refusal:
    return Refusal(412, "A commit has happened since. Please refresh and try again.")


def _ref_of(revision: str) -> str:
    return revision if revision.startswith(PULL_REQUEST) else BRANCH + revision


def _new_pull_request(refs: dict[str, str]) -> str:
    return f"{PULL_REQUEST}{1 + sum(ref.startswith(PULL_REQUEST) for ref in refs)}"


def _changes(repository: Repository, parent: str, lines: list[dict[str, Any]]) -> dict[str, NewFile | None]:
    """What the lines of a commit change, in their order."""
    changes: dict[str, NewFile | None] = {}
    there = repository.files(parent)
    for key, value in ((line["key"], line["value"]) for line in lines):
        if key == "file":
            changes[_fit(value["path"])] = NewFile(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            changes[_fit(value["path"])] = NewFile(_arrived(repository, value))
        elif key in {"deletedFile", "deletedFolder"}:
            changes |= dict.fromkeys(_deleted(there, key, value["path"]))
        elif key != "header":
            raise Refusal(400, f"Unknown operation: {key}")
    return changes


def _arrived(repository: Repository, value: dict[str, Any]) -> bytes:
    pointer = repository.large.arrived(value["oid"], value.get("size"))
    if pointer is None:
        raise Refusal(400, f"LFS pointer of {value['path']} points to a file that has not been uploaded")
    return bytes(pointer)


def _deleted(there: dict[str, Any], key: str, path: str) -> list[str]:
    gone = [path] if key == "deletedFile" else [one for one in there if one.startswith(f"{path.rstrip('/')}/")]
    if not gone or any(one not in there for one in gone):
        raise Refusal(404, "A file with this name doesn't exist", code="EntryNotFound")
    return gone


def _fit(path: str) -> str:
    if _UNFIT_NAMES & set(path.split("/")):
        raise Refusal(400, f"Invalid path: {path!r}")
    return path
