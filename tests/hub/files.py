"""A repository's files, read: the tree, a few paths, and the bytes of one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.hub import access
from tests.hub.models import moment
from tests.hub.routes import endpoint
from tests.hub.wire import Answer, Refusal, Request

if TYPE_CHECKING:
    from tests.hub.server import LoopbackHub
    from tests.hub.store import Repository, StoredFile

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@endpoint("GET", "/api/models/{repo}/tree/{revision}")
@endpoint("GET", "/api/models/{repo}/tree/{revision}/{path}")
def tree(hub: LoopbackHub, request: Request, repo: str, revision: str, path: str = "") -> Answer:
    repository = access.to_know(hub, request, repo)
    commit = access.commit_of(repository, revision)
    if path and path not in repository.folders(commit):
        raise _no_entry(path, commit)
    inside = f"{path}/" if path else ""
    paths = [entry.path for entry in repository.git.entries(commit) if entry.path.startswith(inside)]
    if not request.asks("recursive"):
        paths = [one for one in paths if "/" not in one[len(inside) :]]
    return Answer.json([_listed(hub, request, repository, commit, one) for one in paths])


@endpoint("POST", "/api/models/{repo}/paths-info/{revision}")
def paths_info(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Answer:
    repository = access.to_know(hub, request, repo)
    commit = access.commit_of(repository, revision)
    known = {entry.path for entry in repository.git.entries(commit)}
    asked = (path.rstrip("/") for path in request.fields.get("paths", ()))
    return Answer.json([_listed(hub, request, repository, commit, path) for path in asked if path in known])


@endpoint("GET", "/{repo}/resolve/{revision}/{path}")
def resolve(hub: LoopbackHub, request: Request, repo: str, revision: str, path: str) -> Answer:
    repository = access.to_read(hub, request, repo)
    commit = access.commit_of(repository, revision)
    file = repository.files(commit).get(path)
    if file is None:
        raise _no_entry(path, commit)
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "ETag": f'"{file.etag}"', "X-Repo-Commit": commit}
    if file.pointer:
        headers |= {"X-Linked-Etag": f'"{file.pointer.sha256}"', "X-Linked-Size": str(file.pointer.size)}
    if xet_hash := _xet_hash(hub, repository, file):
        token_url = f"{hub.url}/api/models/{repo}/xet-read-token/{commit}"
        headers |= {"X-Xet-Hash": xet_hash, "Link": f'<{token_url}>; rel="xet-auth"'}
    return _in_range(request, Answer(repository.content(file), headers=headers))


@endpoint("GET", "/api/models/{repo}/xet-read-token/{revision}")
def xet_read_token(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Answer:
    access.commit_of(access.to_read(hub, request, repo), revision)
    return xet_connection(hub.store.large.xet.copied())


def xet_connection(connection: dict[str, Any]) -> Answer:
    """Where Xet's store is: the Python half of the client reads the headers, the Rust half the body."""
    headers = {
        "X-Xet-Cas-Url": connection["casUrl"],
        "X-Xet-Access-Token": connection["accessToken"],
        "X-Xet-Token-Expiration": str(connection["exp"]),
    }
    return Answer.json(connection, headers=headers)


def _no_entry(path: str, commit: str) -> Refusal:
    # With the commit, the client can remember that the file is not there.
    return Refusal(404, f"{path} does not exist", code="EntryNotFound", headers={"X-Repo-Commit": commit})


def _xet_hash(hub: LoopbackHub, repository: Repository, file: StoredFile) -> str | None:
    return repository.large.xet.hash_of(file.pointer.sha256) if file.pointer and hub.offers_xet else None


def _listed(hub: LoopbackHub, request: Request, repository: Repository, commit: str, path: str) -> dict[str, Any]:
    """One line of a listing."""
    file = repository.files(commit).get(path)
    if file is None:
        folder = repository.folders(commit)[path]
        line: dict[str, Any] = {"type": "directory", "oid": folder.oid, "size": 0, "path": path}
    else:
        line = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
        if file.pointer:
            line["lfs"] = {"oid": file.pointer.sha256, "size": file.pointer.size, "pointerSize": file.blob_size}
        if xet_hash := _xet_hash(hub, repository, file):
            line["xetHash"] = xet_hash
    if request.asks("expand"):
        last = repository.git.log(commit, path, count=1)[0]
        line["lastCommit"] = {"id": last.oid, "title": last.title, "date": moment(last.when)}
        line |= _scanned(repository, path) if file else {}
    return line


def _scanned(repository: Repository, path: str) -> dict[str, Any]:
    standing = repository.standing
    status = standing.flagged.get(path, "safe") if standing.scans_done else "unscanned"
    return {"securityFileStatus": {"status": status, "avScan": {"status": status}, "pickleImportScan": None}}


def _in_range(request: Request, whole: Answer) -> Answer:
    """The part of the body that is asked for; a client whose download was cut goes on where it was."""
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    if not found:
        return whole
    size, first = len(whole.body), int(found[1])
    if first >= size:
        raise Refusal(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    last = min(int(found[2] or size - 1), size - 1)
    return Answer(whole.body[first : last + 1], 206, {**whole.headers, "Content-Range": f"bytes {first}-{last}/{size}"})
