"""Contents too large for git, by their SHA-256: what LFS has put here, and what Xet has."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from tests.hub.xet import XetStore

if TYPE_CHECKING:
    from pathlib import Path

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n")
LONGEST_POINTER = 200


class Pointer(NamedTuple):
    """What git keeps in place of a large file."""

    sha256: str
    size: int

    def __bytes__(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @classmethod
    def read(cls, blob: bytes) -> Pointer | None:
        found = _POINTER.fullmatch(blob)
        return cls(found[1].decode(), int(found[2])) if found else None


class LargeFiles:
    """Every content is a plain file, also what came by Xet: a client without Xet may ask for that."""

    def __init__(self, folder: Path) -> None:
        self._plain = folder / "lfs"
        self._plain.mkdir(parents=True)
        self.xet = XetStore(folder / "xet")

    def add(self, content: bytes) -> Pointer:
        pointer = Pointer(hashlib.sha256(content).hexdigest(), len(content))
        (self._plain / pointer.sha256).write_bytes(content)
        return pointer

    def has(self, sha256: str) -> bool:
        return (self._plain / sha256).is_file()

    def get(self, sha256: str) -> bytes:
        return (self._plain / sha256).read_bytes()

    def arrived(self, sha256: str, size: int | None) -> Pointer | None:
        """The pointer to an upload that a commit speaks of; `None` if nothing of this SHA-256 (and size) has come."""
        if not self.has(sha256) and size is not None and (xet_hash := self.xet.hash_of(sha256)):
            self.add(self.xet.get(xet_hash, size))
        if not self.has(sha256):
            return None
        pointer = Pointer(sha256, (self._plain / sha256).stat().st_size)
        return pointer if size in {None, pointer.size} else None
