"""What soft prompts lie in the Hub cache, and taking them out."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_softprompt.errors import HubError, SoftPromptNotFoundError
from langchain_softprompt.hub.cache_scan import scan_cache
from langchain_softprompt.hub.integrity import MAX_JSON_BYTES
from langchain_softprompt.hub.local import CONFIG_FILE, MANIFEST_FILE, TENSOR_FILE
from langchain_softprompt.printable import printable
from langchain_softprompt.refs import SoftPromptRef

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo, CachedRevisionInfo

    from langchain_softprompt.hub.cache_scan import CacheScan

# PEFT's names of the types that put vectors before the text.
SOFT_PROMPT_KINDS = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CARTRIDGE", "MULTITASK_PROMPT_TUNING", "CPT")
_OWN_FILES = frozenset({CONFIG_FILE, TENSOR_FILE, MANIFEST_FILE, "README.md", ".gitattributes"})
_FEWEST_LETTERS = 7  # of a commit that is named by its beginning


@dataclass(frozen=True, slots=True)
class CachedSoftPrompt:
    """One soft prompt of one commit in the cache.

    Attributes:
        ref: Its name, with the whole commit.
        branches: Branches and tags that led to that commit when they were last asked for.
        kind: PEFT's name of its type.
        base_model: The model it says it is for; empty where it does not say.
        num_virtual_tokens: Its length; 0 where it does not say.
        description: What it does, by its manifest.
        size: Bytes of its files.
        last_used: When one of its files was last read.
        folder: Where it lies.
        damage: What is wrong with its repository in the cache, in words; mostly nothing.
    """

    ref: SoftPromptRef
    branches: tuple[str, ...]
    kind: str
    base_model: str
    num_virtual_tokens: int
    description: str
    size: int
    last_used: datetime.datetime
    folder: Path
    damage: str = ""

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "soft_prompt": str(self.ref),
            "branches": list(self.branches),
            "kind": self.kind,
            "base_model": self.base_model,
            "num_virtual_tokens": self.num_virtual_tokens,
            "description": self.description,
            "bytes": self.size,
            "last_used": self.last_used.isoformat(timespec="seconds"),
            "folder": str(self.folder),
            "damage": self.damage,
        }


def cached_soft_prompts() -> list[CachedSoftPrompt]:
    """All of them, by name; nothing is asked of the Hub."""
    scan = scan_cache()
    found = [entry for repo, revision in scan.revisions() for entry in _entries(repo, revision, scan.damage)] if scan is not None else []
    return sorted(found, key=lambda entry: str(entry.ref))


def remove_cached(ref: SoftPromptRef, *, dry_run: bool = False) -> tuple[list[CachedSoftPrompt], int]:
    """Take a repository, or one revision of it, out of the cache; other commits keep the files they share with it.

    Args:
        ref: ``org/name`` for all commits, ``org/name@revision`` for a branch, a tag or a commit (seven letters of it will do).
        dry_run: Only say what would go.

    Returns:
        What goes, and the bytes that are freed.

    Raises:
        SoftPromptNotFoundError: The cache holds no such soft prompt. What is no soft prompt is never taken out.
    """
    scan = scan_cache()
    going = [
        (revision.commit_hash, entries)
        for repo, revision in (scan.revisions() if scan is not None else ())
        if scan is not None
        and repo.repo_id == ref.repo_id
        and _is_meant(revision, ref.revision)
        and (entries := list(_entries(repo, revision, scan.damage)))
    ]
    if scan is None or not going:
        msg = f"The cache holds no soft prompt {ref}. See what it holds: langchain-softprompt list"
        raise SoftPromptNotFoundError(msg)
    _check_alone(ref, scan, {commit for commit, _ in going})
    strategy = scan.found.delete_revisions(*{commit for commit, _ in going})
    if not dry_run:
        strategy.execute()
    return [entry for _, entries in going for entry in entries], strategy.expected_freed_size


def _check_alone(ref: SoftPromptRef, scan: CacheScan, commits: set[str]) -> None:
    """Refuse to take out anything but soft prompts: a snapshot goes as a whole."""
    for repo, revision in scan.revisions():
        if repo.repo_id == ref.repo_id and revision.commit_hash in commits:
            others = sorted(file.file_name for file in revision.files if file.file_name not in _OWN_FILES)
            if others:
                msg = (
                    f"The cache holds more of {ref} than a soft prompt, {printable(others[0])} for instance, and nothing was taken out. "
                    f"To take all of it out: hf cache rm model/{ref.repo_id}"
                )
                raise HubError(msg)


def _entries(repo: CachedRepoInfo, revision: CachedRevisionInfo, damage: Mapping[Path, str]) -> Iterator[CachedSoftPrompt]:
    files = {file.file_path: file for file in revision.files}
    for path in files:
        config = _json(path) if path.name == CONFIG_FILE else {}
        if config.get("peft_type") not in SOFT_PROMPT_KINDS:
            continue
        own = [files[path.parent / name] for name in (CONFIG_FILE, TENSOR_FILE, MANIFEST_FILE) if path.parent / name in files]
        manifest = _json(path.parent / MANIFEST_FILE)
        recorded = manifest.get("base_model")
        inside = path.parent.relative_to(revision.snapshot_path).as_posix()
        yield CachedSoftPrompt(
            ref=SoftPromptRef(repo.repo_id, revision.commit_hash, inside if inside != "." else None),
            branches=tuple(sorted(revision.refs)),
            kind=str(config["peft_type"]),
            base_model=short_text(recorded.get("id") if isinstance(recorded, dict) else config.get("base_model_name_or_path")),
            num_virtual_tokens=count(config.get("num_virtual_tokens")),
            description=short_text(manifest.get("description")),
            size=sum(file.size_on_disk for file in own),
            last_used=datetime.datetime.fromtimestamp(max(file.blob_last_accessed for file in own), datetime.UTC),
            folder=path.parent,
            damage=damage.get(repo.repo_path, ""),
        )


def _is_meant(revision: CachedRevisionInfo, asked: str | None) -> bool:
    if asked is None or asked in revision.refs:
        return True
    return len(asked) >= _FEWEST_LETTERS and revision.commit_hash.startswith(asked)


def _json(file: Path) -> dict[str, Any]:
    """What a small file says; nothing where it can't be read: a list is no place to fail for one bad entry."""
    try:
        with file.open("rb") as stream:
            read = json.loads(stream.read(MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def short_text(value: object) -> str:
    """Text out of a stranger's file as it may stand in a list; empty for what is none."""
    return printable(value) if isinstance(value, str) and value else ""


def count(value: object) -> int:
    """A number of virtual tokens out of a stranger's file; 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


__all__ = ["SOFT_PROMPT_KINDS", "CachedSoftPrompt", "cached_soft_prompts", "count", "remove_cached", "short_text"]
