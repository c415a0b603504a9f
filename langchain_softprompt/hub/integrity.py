"""Fetched files are what the Hub says they are: kinds and sizes beforehand, hashes afterwards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_softprompt.errors import HubError, InvalidSoftPromptError
from langchain_softprompt.hub.local import CONFIG_FILE, MANIFEST_FILE, TENSOR_FILE

if TYPE_CHECKING:
    from huggingface_hub import RepoFile

MAX_JSON_BYTES = 4 << 20
MAX_TENSOR_BYTES = 1 << 30
_LIMITS: Mapping[str, int] = {CONFIG_FILE: MAX_JSON_BYTES, MANIFEST_FILE: MAX_JSON_BYTES, TENSOR_FILE: MAX_TENSOR_BYTES}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_BLOB = re.compile(r"[0-9a-f]{40}")


def check_size(name: str, size: int) -> None:
    """Refuse a file before it is fetched.

    Raises:
        InvalidSoftPromptError: It is larger than any soft prompt's.
    """
    limit = _LIMITS[name]
    if size > limit:
        raise InvalidSoftPromptError(
            file=name, field="size", expected=f"at most {limit} bytes", found=f"{size} bytes", hint="It was not fetched."
        )


def published_hash(file: RepoFile) -> str:
    """The hash of a file's content by the Hub's list; empty where the list has none, as git knows only the pointer to a large file."""
    if file.lfs is not None:
        return str(file.lfs.sha256)
    return "" if file.xet_hash is not None else str(file.blob_id)


def check_contents(files: Mapping[str, Path], published: Mapping[str, str] | None = None) -> None:
    """Compare files of the Hub cache with the hashes they were published under; all that are broken are taken out of the cache.

    The client compares sizes, and hashes only where Xet carries a file.

    Args:
        files: The files by their names in the soft prompt.
        published: Hashes by the Hub's list, for files that were just fetched; else it is what the cache calls them by. Where a system
            has no links, or the client makes none, the cache does not say it.

    Raises:
        InvalidSoftPromptError: The bytes are not those that were published.
    """
    hashes = published or {}
    broken = {name: problem for name, file in files.items() if (problem := _damage(file, hashes.get(name, ""))) is not None}
    for name, (wanted, found) in broken.items():
        hint = f"It was damaged on its way or in the cache{_take_out(files[name], wanted)}; fetch it again."
        error = InvalidSoftPromptError(file=name, field="hash", expected=wanted, found=found, hint=hint)
    if broken:
        raise error


def _damage(file: Path, published: str) -> tuple[str, str] | None:
    """The hash a file should have and the one it has, where they differ."""
    blob = _blob(file)
    known = {published, blob.name if blob is not None else ""}
    if hashes := sorted(filter(_is_hash, known)):
        try:
            content = file.read_bytes()
        except OSError as error:
            msg = f"{file} is in the Hub's cache and can't be read: {error}. Mend its rights, or set HF_HUB_CACHE to another folder."
            raise HubError(msg) from error
        for wanted in hashes:
            if (found := digest_like(wanted, content)) != wanted:
                return wanted, found
    return None


def _take_out(file: Path, wanted: str) -> str:
    """Remove a file of a snapshot, what it links to, and what another link to that hash would lead to; says what became of it."""
    blob = _blob(file)
    gone = [file] if blob is None else [blob.resolve(), blob, file]
    snapshot = next((folder for folder in file.parents if folder.parent.name == "snapshots"), None)
    if snapshot is not None:
        gone.append(snapshot.parent.parent / "blobs" / wanted)
    try:
        for each in gone:
            each.unlink(missing_ok=True)
    except OSError as error:
        return f", and can't be taken out of it ({error}): remove {file}"
    return ", and was taken out of the cache"


def _is_hash(text: str) -> bool:
    return bool(_SHA256.fullmatch(text) or _GIT_BLOB.fullmatch(text))


def digest_like(example: str, content: bytes) -> str:
    """SHA-256, or git's own hash of a file, whichever `example` is."""
    if _SHA256.fullmatch(example):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _blob(file: Path) -> Path | None:
    """What a file of a snapshot links to: the cache names it by the hash. ``None`` on systems without links."""
    if not file.is_symlink():
        return None
    target = file.parent / file.readlink()
    return target if _is_hash(target.name) and target.is_file() else None


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


__all__ = ["check_contents", "check_size", "digest_like", "published_hash", "sha256_of"]
