"""Fetched files are what the Hub says they are: kinds and sizes beforehand, hashes afterwards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from langchain_softprompt.errors import InvalidSoftPromptError
from langchain_softprompt.hub.local import CONFIG_FILE, MANIFEST_FILE, TENSOR_FILE

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


def check_contents(files: Mapping[str, Path]) -> None:
    """Compare files of the Hub cache with the hashes that the cache calls them by; all that are broken are taken out of the cache.

    The client compares sizes, and hashes only where Xet carries a file.

    Args:
        files: The files by their names in the soft prompt.

    Raises:
        InvalidSoftPromptError: The bytes are not those that were published.
    """
    broken = {name: problem for name, file in files.items() if (problem := _damage(file)) is not None}
    for name, (wanted, found) in broken.items():
        blob = _blob(files[name])
        for each in (blob.resolve(), blob, files[name]) if blob is not None else ():
            each.unlink(missing_ok=True)
        hint = "It was damaged on its way or in the cache, and was taken out of the cache; fetch it again."
        error = InvalidSoftPromptError(file=name, field="hash", expected=wanted, found=found, hint=hint)
    if broken:
        raise error


def _damage(file: Path) -> tuple[str, str] | None:
    """The hash a file should have and the one it has, where they differ."""
    blob = _blob(file)
    found = digest_like(blob.name, blob.read_bytes()) if blob is not None else ""
    return None if blob is None or found == blob.name else (blob.name, found)


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
    known = _SHA256.fullmatch(target.name) or _GIT_BLOB.fullmatch(target.name)
    return target if known and target.is_file() else None


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


__all__ = ["check_contents", "check_size", "digest_like", "sha256_of"]
