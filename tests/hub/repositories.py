"""Repositories made and deleted, their branches, tags and history; and who one is to the Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.hub import access
from tests.hub.git import NOTHING, GitError
from tests.hub.models import moment
from tests.hub.routes import endpoint
from tests.hub.wire import Answer, Refusal, Request

if TYPE_CHECKING:
    from tests.hub.server import LoopbackHub

BRANCH, TAG, PULL_REQUEST = "refs/heads/", "refs/tags/", "refs/pr/"


@endpoint("GET", "/api/whoami-v2")
def whoami(hub: LoopbackHub, request: Request) -> Answer:
    user = access.writer_of(hub, request)
    token = {"displayName": "loopback", "role": "write"}
    return Answer.json({"type": "user", "id": user, "name": user, "fullname": user, "orgs": [], "auth": {"accessToken": token}})


@endpoint("POST", "/api/repos/create")
def create(hub: LoopbackHub, request: Request) -> Answer:
    user, name = access.writer_of(hub, request), _named(hub, request)
    url = f"{hub.url}/{name}"
    with hub.store.lock:
        if name in hub.store.repositories:
            # The client reads the address from here, where it was told that the repository may exist.
            return Answer.json({"error": "You already created this model repo", "url": url}, 409)
        repository = hub.store.create(name, user)
    asked = request.json()
    repository.standing.private = asked.get("visibility") == "private" or bool(asked.get("private"))
    return Answer.json({"url": url, "id": name, "name": name})


@endpoint("DELETE", "/api/repos/delete")
def delete(hub: LoopbackHub, request: Request) -> Answer:
    repository, _ = access.to_write(hub, request, _named(hub, request))
    with hub.store.lock:
        del hub.store.repositories[repository.name]
    return Answer.json({})


def _named(hub: LoopbackHub, request: Request) -> str:
    asked = request.json()
    if asked.get("type") not in {None, "model"}:
        raise Refusal(400, "This Hub has models only")
    return f"{asked.get('organization') or access.writer_of(hub, request)}/{asked['name']}"


@endpoint("GET", "/api/models/{repo}/refs")
def refs(hub: LoopbackHub, request: Request, repo: str) -> Answer:
    known = access.to_know(hub, request, repo).git.refs()

    def below(prefix: str) -> list[dict[str, Any]]:
        return [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit}
            for ref, commit in known.items()
            if ref.startswith(prefix)
        ]

    found = {"branches": below(BRANCH), "tags": below(TAG), "converts": []}
    return Answer.json(found | ({"pullRequests": below(PULL_REQUEST)} if request.asks("include_prs") else {}))


@endpoint("GET", "/api/models/{repo}/commits/{revision}")
def commits(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Answer:
    repository = access.to_know(hub, request, repo)
    history = repository.git.log(access.commit_of(repository, revision))
    return Answer.json(
        [
            {"id": one.oid, "title": one.title, "message": one.message, "authors": [{"user": one.author}], "date": moment(one.when)}
            for one in history
        ]
    )


@endpoint("POST", "/api/models/{repo}/tag/{revision}")
def create_tag(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Answer:
    repository, user = access.to_write(hub, request, repo)
    asked, commit = request.json(), access.commit_of(repository, revision)
    with repository.lock:
        _must_be_new(repository.git.refs(), TAG + asked["tag"])
        try:
            repository.tag(asked["tag"], commit, asked.get("message"), user)
        except GitError as error:
            raise Refusal(400, str(error)) from error
    return Answer.json({})


@endpoint("POST", "/api/models/{repo}/branch/{branch}")
def create_branch(hub: LoopbackHub, request: Request, repo: str, branch: str) -> Answer:
    repository, _ = access.to_write(hub, request, repo)
    commit = access.commit_of(repository, request.json().get("startingPoint", "main"))
    with repository.lock:
        _must_be_new(repository.git.refs(), BRANCH + branch)
        try:
            repository.git.run("check-ref-format", BRANCH + branch)
            repository.git.move(BRANCH + branch, commit, NOTHING)
        except GitError as error:
            raise Refusal(400, str(error)) from error
    return Answer.json({})


@endpoint("DELETE", "/api/models/{repo}/tag/{name}")
def delete_tag(hub: LoopbackHub, request: Request, repo: str, name: str) -> Answer:
    return _drop(hub, request, repo, TAG + name)


@endpoint("DELETE", "/api/models/{repo}/branch/{name}")
def delete_branch(hub: LoopbackHub, request: Request, repo: str, name: str) -> Answer:
    return _drop(hub, request, repo, BRANCH + name)


def _drop(hub: LoopbackHub, request: Request, repo: str, ref: str) -> Answer:
    repository, _ = access.to_write(hub, request, repo)
    with repository.lock:
        if ref not in repository.git.refs():
            raise Refusal(404, f"There is no {ref}", code="RevisionNotFound")
        repository.git.drop(ref)
    return Answer.json({})


def _must_be_new(known: dict[str, str], ref: str) -> None:
    if ref in known:
        raise Refusal(409, f"Reference already exists: {ref}")
