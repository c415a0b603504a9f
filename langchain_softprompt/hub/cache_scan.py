"""What lies in the Hub cache, file by file: what the client's own scan finds, and the repositories that it passes over."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_softprompt.errors import HubError
from langchain_softprompt.hub.pins import is_commit
from langchain_softprompt.printable import printable

if TYPE_CHECKING:
    from huggingface_hub import CachedFileInfo, CachedRepoInfo, CachedRevisionInfo, HFCacheInfo

_MODELS = "models"
_MISSING = "a file of it is missing"


@dataclass(frozen=True, slots=True)
class CacheScan:
    """The cache.

    Attributes:
        found: As the client tells it, with the repositories that it calls corrupted.
        damage: What is wrong with these, by folder.
    """

    found: HFCacheInfo
    damage: dict[Path, str]

    def revisions(self) -> Iterator[tuple[CachedRepoInfo, CachedRevisionInfo]]:
        """Each commit of each repository of the kind that soft prompts are kept in."""
        for repo in self.found.repos:
            if repo.repo_type == "model":
                for revision in repo.revisions:
                    yield repo, revision


def scan_cache() -> CacheScan | None:
    """Look through the cache; ``None`` where there is none.

    One branch that leads to nothing, or one file that is gone, and the client's scan leaves out the whole repository. Here what is
    whole of it is found all the same, so that it can be seen, and taken out.

    Raises:
        HubError: It can't be read.
    """
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        found = scan_cache_dir()
        root = Path(constants.HF_HUB_CACHE).expanduser().resolve()
        passed_over = {folder for folder in root.glob(f"{_MODELS}{constants.REPO_ID_SEPARATOR}*") if folder.is_dir()}
    except CacheNotFound:
        return None
    except (OSError, ValueError) as error:
        msg = f"The Hub cache can't be read: {error}. Set HF_HUB_CACHE to a folder."
        raise HubError(msg) from error
    passed_over -= {repo.repo_path for repo in found.repos}
    repos, damage = set(found.repos), {}
    for folder in sorted(passed_over):
        with contextlib.suppress(OSError):
            repo, damage[folder] = _read(folder)
            repos.add(repo)
    return CacheScan(replace(found, repos=frozenset(repos)), damage)


def _read(folder: Path) -> tuple[CachedRepoInfo, str]:
    """A repository's folder as it is, and what the client's scan has against it."""
    from huggingface_hub import CachedRepoInfo, CachedRevisionInfo, constants

    leading_to: dict[str, set[str]] = {}
    for ref in folder.glob("refs/**/*"):
        if ref.is_file():
            leading_to.setdefault(ref.read_text("utf-8", "replace").strip(), set()).add(ref.relative_to(folder / "refs").as_posix())
    revisions, damage = set(), []
    for snapshot in folder.glob("snapshots/*"):
        if not is_commit(snapshot.name) or not snapshot.is_dir():
            continue
        paths = [path for path in snapshot.glob("**/*") if not path.is_dir()]
        files = frozenset(_file(path) for path in paths if path.exists())
        damage += [] if len(files) == len(paths) else [_MISSING]
        revisions.add(
            CachedRevisionInfo(
                commit_hash=snapshot.name,
                snapshot_path=snapshot,
                size_on_disk=_size(files),
                files=files,
                refs=frozenset(leading_to.pop(snapshot.name, set())),
                last_modified=snapshot.stat().st_mtime,
            )
        )
    damage += [f"{printable(', '.join(sorted(names)))} leads to a commit that is not here" for names in leading_to.values()]
    files = frozenset(file for revision in revisions for file in revision.files)
    repo = CachedRepoInfo(
        repo_id=folder.name.partition(constants.REPO_ID_SEPARATOR)[2].replace(constants.REPO_ID_SEPARATOR, "/"),
        repo_type="model",
        repo_path=folder,
        size_on_disk=_size(files),
        nb_files=len({file.blob_path for file in files}),
        revisions=frozenset(revisions),
        last_accessed=folder.stat().st_atime,
        last_modified=folder.stat().st_mtime,
    )
    return repo, "; ".join(dict.fromkeys(damage))


def _file(path: Path) -> CachedFileInfo:
    from huggingface_hub import CachedFileInfo

    # One link is followed and no more: what it leads to may be a link itself, to a file that repositories share.
    blob = Path(os.path.abspath(path.parent / path.readlink())) if path.is_symlink() else path  # noqa: PTH100 - follows no link
    status = blob.stat()
    return CachedFileInfo(
        file_name=path.name,
        file_path=path,
        blob_path=blob,
        size_on_disk=status.st_size,
        blob_last_accessed=status.st_atime,
        blob_last_modified=status.st_mtime,
    )


def _size(files: frozenset[CachedFileInfo]) -> int:
    return sum({file.blob_path: file.size_on_disk for file in files}.values())


__all__ = ["CacheScan", "scan_cache"]
