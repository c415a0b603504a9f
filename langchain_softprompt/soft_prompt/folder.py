"""Reading files out of a folder that nobody vouches for."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from langchain_softprompt.errors import InvalidSoftPromptError, SoftPromptNotFoundError, UnsafeFileError
from langchain_softprompt.hub.integrity import MAX_JSON_BYTES, MAX_TENSOR_BYTES
from langchain_softprompt.hub.local import MANIFEST_FILE, PICKLED_WEIGHTS, TENSOR_FILE
from langchain_softprompt.printable import printable

# Non-blocking: opening a named pipe must not hang. No-follow: the path is resolved by then.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

# A soft prompt has at most three tensors and a few words beside them.
_MAX_HEADER_BYTES = 1 << 20
_MOST_TENSORS = 16
_HASH = 64  # letters of a hash that the Hub cache names shared files by


class SoftPromptFolder:
    """A folder from which only regular files inside it are read, each up to a size.

    Args:
        root: The folder.

    Raises:
        SoftPromptNotFoundError: There is no such folder.
    """

    def __init__(self, root: Path) -> None:
        try:
            is_folder = root.is_dir()
        except (OSError, ValueError) as error:
            msg = f"Can't look at the soft-prompt folder {str(root)!r}: {error}"
            raise SoftPromptNotFoundError(msg) from error
        if not is_folder:
            msg = f"There is no soft-prompt folder at {str(root)!r}. Check the path; a Hub soft prompt is named 'org/name'."
            raise SoftPromptNotFoundError(msg)
        self.root = root
        self._real_root = root.resolve()
        self._stores = _hub_stores(root)

    def has(self, name: str) -> bool:
        """Whether an entry of that name is there, of whatever kind."""
        return os.path.lexists(self.root / name)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON object; NaN and Infinity are refused, as JSON has neither."""
        content = self.read_bytes(name, MAX_JSON_BYTES)
        try:
            parsed = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise InvalidSoftPromptError(file=name, field="content", expected="valid JSON", found=printable(error)) from error
        if not isinstance(parsed, dict):
            raise InvalidSoftPromptError(file=name, field="content", expected="a JSON object", found=type(parsed).__name__)
        return parsed

    def read_tensors(self, sha256: str | None = None) -> dict[str, Tensor]:
        """Read the tensors of ``adapter_model.safetensors``, which must have the given SHA-256 when there is one.

        Raises:
            UnsafeFileError: There are only pickled weights.
            InvalidSoftPromptError: The file is missing, truncated or no safetensors file.
        """
        if not self.has(TENSOR_FILE):
            for pickle in PICKLED_WEIGHTS:
                if self.has(pickle):
                    hint = "Pickled weights can run code and are never read. Save them again with PEFT's safe_serialization=True."
                    raise UnsafeFileError(file=pickle, field="format", expected=TENSOR_FILE, found="pickled weights only", hint=hint)
        content = self.read_bytes(TENSOR_FILE, MAX_TENSOR_BYTES)
        if sha256 is not None and (actual := hashlib.sha256(content).hexdigest()) != sha256:
            hint = "The file was changed or cut short after it was saved; fetch it again."
            raise InvalidSoftPromptError(file=TENSOR_FILE, field="sha256", expected=f"{sha256} ({MANIFEST_FILE})", found=actual, hint=hint)
        _check_header(content)
        try:
            return load_safetensors(content)
        except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError, OverflowError, AttributeError) as error:
            raise InvalidSoftPromptError(
                file=TENSOR_FILE, field="content", expected="a whole safetensors file", found=printable(error)
            ) from error

    def read_bytes(self, name: str, limit: int) -> bytes:
        """Read a regular file inside the folder, at most `limit` bytes."""
        path = self.root / name
        try:
            real = path.resolve(strict=True)
            if not real.is_relative_to(self._real_root) and not self._is_stored(real):
                raise UnsafeFileError(file=name, field="path", expected="a file inside the folder", found="a link that leaves it")
            descriptor = os.open(real, _OPEN_FLAGS)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise UnsafeFileError(file=name, field="kind", expected="a regular file", found=stat.filemode(status.st_mode))
                if status.st_size > limit:
                    raise InvalidSoftPromptError(
                        file=name, field="size", expected=f"at most {limit} bytes", found=f"{status.st_size} bytes"
                    )
                with os.fdopen(descriptor, "rb", closefd=False) as stream:
                    content = stream.read(limit)
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise InvalidSoftPromptError(file=name, field="presence", expected="the file", found="no such file") from error
        except (OSError, RuntimeError) as error:
            raise InvalidSoftPromptError(file=name, field="access", expected="a readable file", found=printable(error)) from error
        return content

    def _is_stored(self, real: Path) -> bool:
        """Whether the Hub cache keeps a file: under its hash, in a store of the repository or of all repositories."""
        return any(
            real.parent == store or (real.parent.parent == store and real.name.startswith(real.parent.name) and len(real.name) == _HASH)
            for store in self._stores
        )


def _hub_stores(root: Path) -> tuple[Path, ...]:
    """Where the Hub cache keeps what its snapshot folders link to.

    ``models--org--name/{blobs,snapshots/<commit>}``, and for clients from 2.0 on ``blobs/<two letters>`` beside all
    repositories, too. All of them must be real folders: a planted link by the name of ``blobs`` would lead anywhere.
    """
    given, real = root.absolute(), root.resolve()  # the user may name a snapshot by a link of their own
    for folder in (given, *given.parents, real, *real.parents):
        repository = folder.parent.parent
        if folder.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", folder.name) and "--" in repository.name:
            if folder.parent.is_symlink():
                return ()
            stores = (repository / "blobs", repository.parent / "blobs")
            return tuple(store.resolve() for store in stores if store.is_dir() and not store.is_symlink())
    return ()


def _check_header(content: bytes) -> None:
    """Refuse a header that no soft prompt has, before anything of it is made into tensors; what else is wrong the library tells."""
    length = int.from_bytes(content[:8], "little")
    if length > _MAX_HEADER_BYTES:
        raise InvalidSoftPromptError(
            file=TENSOR_FILE, field="header", expected=f"at most {_MAX_HEADER_BYTES} bytes", found=f"{length} bytes"
        )
    try:
        entries = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        return
    if isinstance(entries, dict) and len(entries) > _MOST_TENSORS:
        raise InvalidSoftPromptError(file=TENSOR_FILE, field="tensors", expected=f"at most {_MOST_TENSORS - 1}", found=str(len(entries)))


def _refuse_constant(name: str) -> Any:
    msg = f"{name} is not JSON"
    raise ValueError(msg)
