"""Files in other projects' formats, made here: as their own programs write them, and as an attacker would."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

META = {"name": "Gloom", "author": "acme", "supported": "Generic 6B", "description": "Everything is grey."}
ROWS, WIDTH = 6, 32
# How an .npy file calls each dtype; numpy itself calls bfloat16 raw bytes.
DESCR = {torch.float32: "<f4", torch.float16: "<f2", torch.bfloat16: "|V2"}
_RAW = {torch.float32: np.float32, torch.float16: np.float16}


def rows(count: int = ROWS, width: int = WIDTH, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).to(dtype)


def caikit(folder: Path, content: object, name: str = "decoder.pt") -> Path:
    """What ``torch.save`` writes."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / name)
    return folder / name


def changed(file: Path, changes: Mapping[str, bytes | None], packing: int = zipfile.ZIP_STORED) -> Path:
    """Replace members of a zip file by the end of their name; ``None`` takes one away."""
    with zipfile.ZipFile(file) as old:
        members = {member.filename: old.read(member) for member in old.infolist()}
    root = next(iter(members)).split("/")[0]
    for end, content in changes.items():
        known = [name for name in members if name.endswith(end)] or [f"{root}/{end}"]
        for name in known:
            if content is None:
                del members[name]
            else:
                members[name] = content
    return archive(file, members, packing)


def archive(file: Path, members: Mapping[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", packing) as new:
        for name, content in members.items():
            new.writestr(name, content)
    return file


def npy(array: NDArray[np.generic]) -> bytes:
    """What ``np.save`` writes."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npy_of(tensor: Tensor) -> bytes:
    """What ``np.save`` writes of these rows; of bfloat16 what it writes of JAX's."""
    if tensor.dtype is torch.bfloat16:
        return npy(tensor.contiguous().view(torch.int16).numpy().view("V2"))
    return npy(tensor.numpy())


def npy_by_hand(header: str, numbers: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin-1")
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2 if version == (1, 0) else 4, "little") + text + numbers


def header(descr: str = "<f4", shape: str = f"({ROWS}, {WIDTH})", order: str = "False") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n"


def koboldai(file: Path, tensor: bytes, meta: object = META) -> Path:
    """KoboldAI's archive; no meta.json where that is ``None``."""
    members = {"tensor.npy": tensor}
    if meta is not None:
        members["meta.json"] = meta if isinstance(meta, bytes) else json.dumps(meta).encode()
    return archive(file, members)


class Payload:
    """Unpickled, it makes a file: if that is there afterwards, a stranger's code has run."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.proof,))


def payload_runs(content: bytes) -> None:
    """The attack itself, to show that the payload is live where a file is unpickled trustingly."""
    pickle.loads(content)  # noqa: S301 - that is what is shown
