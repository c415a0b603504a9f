"""Who may do what: the way from a request to a repository, or to a refusal in the Hub's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hub.store import Repository, is_admitted
from tests.hub.wire import Refusal, Request

if TYPE_CHECKING:
    from tests.hub.server import LoopbackHub


def user_of(hub: LoopbackHub, request: Request) -> str | None:
    """The user of the request's token; `None` without one."""
    if request.token is None:
        return None
    if request.token not in hub.users:
        raise Refusal(401, "Invalid credentials in Authorization header")
    return hub.users[request.token]


def writer_of(hub: LoopbackHub, request: Request) -> str:
    user = user_of(hub, request)
    if user is None:
        raise Refusal(401, "Invalid username or password.")
    return user


def to_know(hub: LoopbackHub, request: Request, name: str) -> Repository:
    """The repository, to one who may know of it: what is private doesn't exist for the others."""
    user = user_of(hub, request)
    repository = hub.store.repositories.get(name)
    if repository is None or (repository.standing.private and not is_admitted(repository.standing, user)):
        # Without a token the Hub doesn't say whether it is missing or private, and answers 401 to both.
        raise Refusal(404 if user else 401, "Repository not found", code="RepoNotFound")
    if repository.standing.disabled:
        raise Refusal(403, "Access to this resource is disabled.")
    return repository


def to_read(hub: LoopbackHub, request: Request, name: str) -> Repository:
    """The repository, to one who may have its files: a gated one can be known of, and listed, by everyone."""
    repository = to_know(hub, request, name)
    user = user_of(hub, request)
    if repository.standing.gated and not is_admitted(repository.standing, user):
        message = f"Access to model {name} is restricted and you are not in the authorized list. Visit {hub.url}/{name} to ask for access."
        raise Refusal(403 if user else 401, message, code="GatedRepo")
    return repository


def to_write(hub: LoopbackHub, request: Request, name: str) -> tuple[Repository, str]:
    """The repository and the user who writes to it."""
    user = writer_of(hub, request)
    return to_know(hub, request, name), user


def commit_of(repository: Repository, revision: str) -> str:
    commit = repository.git.resolve(revision)
    if commit is None:
        raise Refusal(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
    return commit
