"""The repositories: each a bare git repository with its large files beside it, and what the Hub itself says of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tests.hub.card import CardError, read_head
from tests.hub.git import FILE, FOLDER, LINK, NOTHING, Entry, GitRepo, Leaf, signature
from tests.hub.large import LONGEST_POINTER, LargeFiles, Pointer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# As on the Hub, a repository begins with a commit that hands these over to LFS.
_LFS_SUFFIXES = ("7z", "arrow", "bin", "ckpt", "gguf", "gz", "h5", "model", "npz", "onnx", "parquet", "pt", "pth", "safetensors", "zip")
_ATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in _LFS_SUFFIXES).encode()
LARGEST_REGULAR = 10_000_000
MAIN = "refs/heads/main"


class NewFile(NamedTuple):
    """What a commit brings: a file's content (a pointer's, if it is a large one), or a link's target."""

    content: bytes
    mode: str = FILE


class MovedError(Exception):
    """The branch's head is no longer the commit that a change was made for."""


@dataclass
class Standing:
    """What is said of a repository apart from its content; `LoopbackHub.set` changes it."""

    created_at: int
    private: bool = False
    gated: Literal[False, "auto", "manual"] = False
    disabled: bool = False
    admitted: frozenset[str] | None = None
    """Who may read it while it is private or gated: users' names, or `None` for everyone with a token."""
    scans_done: bool = True
    flagged: Mapping[str, str] = field(default_factory=dict)
    """Level of danger by path: ``unsafe``, ``suspicious``."""
    downloads: int = 0
    likes: int = 0


@dataclass(frozen=True)
class StoredFile:
    """A file at a commit; `pointer` is there if git keeps only that."""

    path: str
    oid: str
    blob_size: int
    pointer: Pointer | None

    @property
    def size(self) -> int:
        return self.pointer.size if self.pointer else self.blob_size

    @property
    def etag(self) -> str:
        return self.pointer.sha256 if self.pointer else self.oid


class Repository:
    """One repository. A commit never changes, so what has been read of one is kept."""

    def __init__(self, name: str, git: GitRepo, large: LargeFiles, clock: Clock) -> None:
        self.name = name
        self.git = git
        self.large = large
        self.lock = threading.RLock()
        self._clock = clock
        self.standing = Standing(created_at=clock.tick())
        self._files: dict[str, dict[str, StoredFile]] = {}

    @property
    def author(self) -> str:
        return self.name.split("/")[0]

    def folders(self, commit: str) -> dict[str, Entry]:
        return {entry.path: entry for entry in self.git.entries(commit) if entry.mode == FOLDER}

    def files(self, commit: str) -> dict[str, StoredFile]:
        if commit not in self._files:
            entries = [entry for entry in self.git.entries(commit) if entry.mode != FOLDER]
            small = self.git.blobs(entry.oid for entry in entries if entry.size <= LONGEST_POINTER and entry.mode != LINK)
            pointers = {oid: Pointer.read(blob) for oid, blob in small.items()}
            self._files[commit] = {e.path: StoredFile(e.path, e.oid, e.size, pointers.get(e.oid)) for e in entries}
        return self._files[commit]

    def content(self, file: StoredFile) -> bytes:
        return self.large.get(file.pointer.sha256) if file.pointer else self.git.blobs([file.oid])[file.oid]

    def head_of_card(self, commit: str) -> dict[str, Any]:
        readme = self.files(commit).get("README.md")
        try:
            return read_head(self.content(readme).decode(errors="replace")) if readme else {}
        except CardError:
            return {}

    def goes_to_lfs(self, commit: str, sizes: Mapping[str, int]) -> set[str]:
        """Which of these files git is to keep only a pointer to. An empty one it can always keep itself."""
        by_size = {path for path, size in sizes.items() if size > LARGEST_REGULAR}
        return {path for path in by_size | (self.git.filtered_by_lfs(commit, sizes) if sizes else set()) if sizes[path]}

    def commit(self, changes: Mapping[str, NewFile | None], ref: str, message: str, who: str, *, parent: str | None) -> str:
        """Put a commit with the changes (`None`: deleted) on `parent`, and move `ref` there.

        Raises:
            MovedError: There is such a ref, and it is not at `parent`.
        """
        with self.lock:
            present = self.git.refs().get(ref, NOTHING)
            if present not in {NOTHING, parent}:
                raise MovedError
            leaves = {e.path: Leaf(e.mode, e.oid) for e in self.git.entries(parent) if e.mode != FOLDER} if parent else {}
            new = {path: file for path, file in changes.items() if file}
            oids = self.git.write_blobs([file.content for file in new.values()]) if new else []
            leaves |= {path: Leaf(file.mode, oid) for (path, file), oid in zip(new.items(), oids, strict=True)}
            kept = {path: leaf for path, leaf in leaves.items() if path in new or path not in changes}
            commit = self.git.write_commit(self.git.write_tree(kept), parent, message, signature(who, self._clock.tick()))
            self.git.move(ref, commit, present)
            return commit

    def tag(self, name: str, commit: str, message: str | None, who: str) -> None:
        self.git.tag(name, commit, message, signature(who, self._clock.tick()))


class Clock:
    """Seconds that differ from commit to commit, so that the last one is known in a test of a few milliseconds too."""

    def __init__(self) -> None:
        self._now = int(time.time())
        self._lock = threading.Lock()

    def tick(self) -> int:
        with self._lock:
            self._now += 1
            return self._now


class Store:
    """All repositories of a Hub, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clock = Clock()
        self.large = LargeFiles(folder)
        self.repositories: dict[str, Repository] = {}
        self.lock = threading.RLock()

    def create(self, name: str, who: str) -> Repository:
        with self.lock:
            # A folder of its own for each repository ever made: one of the same name may have been deleted.
            folder = self._folder / "repositories" / f"{len(list(self._folder.glob('repositories/*')))}-{name.replace('/', '--')}.git"
            repository = Repository(name, GitRepo.create(folder), self.large, self._clock)
            repository.commit({".gitattributes": NewFile(_ATTRIBUTES)}, MAIN, "initial commit", who, parent=None)
            self.repositories[name] = repository
            return repository

    def visible_to(self, user: str | None) -> Iterable[Repository]:
        """What a listing shows to a user."""
        return [repo for repo in self.repositories.values() if not repo.standing.private or is_admitted(repo.standing, user)]


def is_admitted(standing: Standing, user: str | None) -> bool:
    return user is not None and (standing.admitted is None or user in standing.admitted)
