"""The chunk store of Xet, in a folder: the real client writes and reads it by itself when told that it is at ``local://``."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_LIFETIME = 3600
_FILES = "xet/xorbs"  # where the client puts what it uploads
_RECORD = 48  # every record of a shard has this size: its header, a file, a segment of a file
_MAGIC = b"HFRepoMetaData\0"
_VERSION = 2
_HAS_CHECKS, _HAS_SHA256 = 1 << 31, 1 << 30  # flags of a file's record: what follows its segments
_BUSY = "Cannot acquire lock"


class XetStore:
    """Files in chunks. What the client has put in, it has told nobody but the store's shards; so these are read here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._hashes: dict[str, str] = {}
        self._read: set[Path] = set()

    def connection(self) -> dict[str, Any]:
        """Where the store is and the token for it, under the names that the Hub's answer has."""
        return _connection(self.folder)

    def copied(self) -> dict[str, Any]:
        """The same for one who reads, of a copy: a store is one process's at a time, and clients pull at once."""
        copy = self.folder.with_name(f"{self.folder.name}-{uuid.uuid4().hex}")
        shutil.copytree(self.folder / _FILES, copy / _FILES)
        return _connection(copy)

    def hash_of(self, sha256: str) -> str | None:
        """Xet's own hash of the file with this SHA-256."""
        if sha256 not in self._hashes:
            for shard in set((self.folder / _FILES).glob("shards/*.mdb")) - self._read:
                self._hashes |= _files_of(shard.read_bytes())
                self._read.add(shard)
        return self._hashes.get(sha256)

    def put(self, content: bytes) -> None:
        import hf_xet

        def upload() -> None:
            with hf_xet.XetSession().new_upload_commit(**_arguments(self.folder)) as commit:
                commit.start_upload_bytes(content)

        _when_free(upload)

    def get(self, xet_hash: str, size: int) -> bytes:
        """A file's content; read from a copy, as the store itself may be in the hands of the client's process still."""
        import hf_xet

        with tempfile.TemporaryDirectory(dir=self.folder.parent) as copy:
            shutil.copytree(self.folder / _FILES, Path(copy) / _FILES)
            group = hf_xet.XetSession().new_download_stream_group(**_arguments(Path(copy)))
            try:
                return b"".join(group.download_stream(hf_xet.XetFileInfo(xet_hash, size)))
            finally:
                group.finish()

    def spoil(self) -> None:
        """Turn the stored bytes into others of the same length."""
        for block in (self.folder / _FILES).glob("xorbs/default.*"):
            if block.suffix != ".tagset":
                block.chmod(0o600)
                block.write_bytes(block.read_bytes().translate(OTHER_BYTES))


OTHER_BYTES = bytes(255 - byte for byte in range(256))
"""For `bytes.translate`: no byte stays what it is."""


def _connection(folder: Path) -> dict[str, Any]:
    return {"casUrl": f"local://{folder}", "accessToken": "for-a-local-store", "exp": int(time.time()) + _LIFETIME}


def _arguments(folder: Path) -> dict[str, Any]:
    connection = _connection(folder)
    return {"endpoint": connection["casUrl"], "token": connection["accessToken"], "token_expiry_unix_secs": connection["exp"]}


def _when_free(use: Callable[[], T], patience: float = 5.0) -> T:
    """Write to the store once no other process has it open: it is one process's at a time."""
    until = time.monotonic() + patience
    while True:
        try:
            return use()
        except RuntimeError as error:
            if _BUSY not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _files_of(shard: bytes) -> dict[str, str]:
    """SHA-256 to Xet hash of every file that a shard describes."""
    version = int.from_bytes(shard[32:40], "little")
    if not shard.startswith(_MAGIC) or version != _VERSION:
        msg = f"This is no shard of version {_VERSION}: hf-xet has changed its format, and tests/hub/xet.py must learn it."
        raise ValueError(msg)
    files, at = {}, _RECORD
    while at < len(shard) and shard[at : at + 32] != b"\xff" * 32:
        xet_hash, flags = _hex(shard[at : at + 32]), int.from_bytes(shard[at + 32 : at + 36], "little")
        segments = int.from_bytes(shard[at + 36 : at + 40], "little")
        at += _RECORD * (1 + segments * (2 if flags & _HAS_CHECKS else 1))
        if flags & _HAS_SHA256:
            files[_hex(shard[at : at + 32])] = xet_hash
            at += _RECORD
    return files


def _hex(stored: bytes) -> str:
    """A hash as people see it: it is kept as four little-endian numbers."""
    return "".join(f"{int.from_bytes(stored[at : at + 8], 'little'):016x}" for at in range(0, 32, 8))
