"""``decoder.pt`` of caikit and TGIS: one pickled tensor, looked through before it is unpickled.

caikit-nlp's ``PeftPromptTuning.save`` writes the rows of a decoder's soft prompt with ``torch.save``, a tensor
``[virtual_tokens, hidden_size]``; TGIS reads it. An encoder's go to ``encoder.pt`` beside it.
"""

from __future__ import annotations

import io
import pickletools
import struct
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langchain_softprompt.conversion.archive import Archive
from langchain_softprompt.conversion.refused import TEXTUAL_INVERSION_KEYS, refuse_textual_inversion
from langchain_softprompt.conversion.rows import check_sizes
from langchain_softprompt.errors import InvalidSoftPromptError, UnsafeFileError, UnsupportedSoftPromptError
from langchain_softprompt.printable import printable, shown

PICKLE_MEMBER = "data.pkl"
ENCODER_FILE = "encoder.pt"
_MOST_PICKLE_BYTES = 64 << 10
_MOST_MARK_BYTES = 64
_HINT = "Save the tensor alone: torch.save(rows.float(), 'decoder.pt')."

# What torch.save writes for one tensor or parameter, and nothing else. torch.load(weights_only=True) allows more, some of which
# allocates what it is told to; and before PyTorch 2.10 some of it could corrupt memory (CVE-2026-24747).
_STORAGES = ("BFloat16", "Float", "Half", "Double", "Bool", "Byte", "Char", "Short", "Int", "Long")
_NAMES = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor_v2",
        *(f"torch {kind}Storage" for kind in _STORAGES),
    }
)
_PUSHES = {"BINGET", "BININT", "BININT1", "BININT2", "BINUNICODE", "EMPTY_TUPLE", "LONG1", "LONG_BINGET", "MARK", "NEWFALSE", "NEWTRUE"}
_MAKES = {"BINPERSID", "BINPUT", "GLOBAL", "LONG_BINPUT", "PROTO", "REDUCE", "STOP", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_CALLS = {"GLOBAL", "INST", "STACK_GLOBAL"}
_FILLS = {"EMPTY_DICT", "SETITEM", "SETITEMS"}
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def read_caikit(archive: Archive, folders: Iterable[Path]) -> Tensor:
    """Read the tensor of a file that ``torch.save`` wrote.

    The pickle in it is read as a list of steps first, which runs nothing; it must be what one tensor needs. What was looked at is
    then put into a new archive, so that PyTorch's own zip reader sees nothing else, and read by ``torch.load(weights_only=True)``.

    Args:
        archive: The file.
        folders: Where it lies; a file beside it tells an encoder-decoder model.

    Returns:
        Embeddings, ``[virtual_tokens, hidden_size]``, in the dtype they were stored in, in memory of their own.

    Raises:
        UnsafeFileError: The pickle names something else than a tensor.
        UnsupportedSoftPromptError: It is of an encoder-decoder model, or of an image model.
        InvalidSoftPromptError: It holds no single matrix of float32, float16 or bfloat16.
    """
    if any((folder / ENCODER_FILE).exists() for folder in folders):
        raise UnsupportedSoftPromptError(
            file=archive.file,
            field="model",
            expected="a soft prompt of a decoder alone",
            found=f"{ENCODER_FILE} beside it: it is of an encoder-decoder model",
        )
    root = _root(archive)
    steps = archive.read(f"{root}/{PICKLE_MEMBER}", _MOST_PICKLE_BYTES)
    _check_steps(archive.file, steps)
    numbers = _numbers(archive, root)
    tensor = _load(archive.file, steps, numbers)
    _check_tensor(archive.file, tensor, len(next(iter(numbers.values()))))
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())


def _root(archive: Archive) -> str:
    """The folder in the archive that everything is in."""
    roots = [name.removesuffix(f"/{PICKLE_MEMBER}") for name in archive.names if name.endswith(f"/{PICKLE_MEMBER}")]
    if len(roots) != 1:
        found = printable(", ".join(archive.names) or "nothing")
        raise InvalidSoftPromptError(file=archive.file, field="members", expected=f"one {PICKLE_MEMBER}", found=found)
    return roots[0]


def _numbers(archive: Archive, root: str) -> dict[str, bytes]:
    """The one storage, by its number."""
    mark = f"{root}/byteorder"
    order = archive.read(mark, _MOST_MARK_BYTES) if mark in archive.names else sys.byteorder.encode()
    if order != sys.byteorder.encode():  # PyTorch would swap bytes before we could see whether they are there.
        raise InvalidSoftPromptError(file=archive.file, field="byteorder", expected=sys.byteorder, found=shown(order))
    inside = f"{root}/data/"
    names = [name for name in archive.names if name.startswith(inside) and name != inside]
    if len(names) != 1:
        raise InvalidSoftPromptError(file=archive.file, field="tensors", expected="one", found=str(len(names)), hint=_HINT)
    return {names[0].removeprefix(inside): archive.read(names[0])}


def _check_steps(file: str, pickle: bytes) -> None:
    try:
        steps = [(step.name, argument) for step, argument, _ in pickletools.genops(pickle)]
    except (ValueError, IndexError, KeyError, OverflowError, struct.error) as error:
        raise InvalidSoftPromptError(file=file, field=PICKLE_MEMBER, expected="a whole pickle", found=printable(error)) from error
    if TEXTUAL_INVERSION_KEYS & {argument for step, argument in steps if step == "BINUNICODE"}:
        refuse_textual_inversion(file)
    called = sorted({str(argument or step) for step, argument in steps if step in _CALLS} - _NAMES)
    if called:
        found = printable(", ".join(name.replace(" ", ".") for name in called))
        hint = f"A pickle that names anything else can run code and is not loaded. {_HINT}"
        raise UnsafeFileError(file=file, field=PICKLE_MEMBER, expected="a tensor and nothing else", found=found, hint=hint)
    other = {step for step, _ in steps} - _PUSHES - _MAKES
    if other:
        what = "a dictionary, as PEFT and checkpoints have it" if other & _FILLS else ", ".join(sorted(other))
        raise InvalidSoftPromptError(file=file, field=PICKLE_MEMBER, expected="one tensor", found=what, hint=_HINT)


def _load(file: str, pickle: bytes, numbers: dict[str, bytes]) -> Any:
    looked_at = io.BytesIO()
    with zipfile.ZipFile(looked_at, "w") as rebuilt:
        rebuilt.writestr(f"decoder/{PICKLE_MEMBER}", pickle)
        rebuilt.writestr("decoder/byteorder", sys.byteorder)
        rebuilt.writestr("decoder/version", "3\n")
        for key, content in numbers.items():
            rebuilt.writestr(f"decoder/data/{key}", content)
    looked_at.seek(0)
    try:
        return torch.load(looked_at, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever it is, PyTorch can't read it
        raise InvalidSoftPromptError(file=file, field="content", expected="a tensor that PyTorch loads", found=printable(error)) from error


def _check_tensor(file: str, tensor: Any, stored: int) -> None:
    """Whether it is a plain matrix whose numbers are all in the file; nothing of it is read before that is known."""
    plain = isinstance(tensor, Tensor) and tensor.layout is torch.strided and tensor.device.type == "cpu"
    if not plain:
        raise InvalidSoftPromptError(file=file, field="content", expected="a plain tensor", found=type(tensor).__name__, hint=_HINT)
    if tensor.dtype not in _DTYPES:
        raise InvalidSoftPromptError(file=file, field="dtype", expected="float32, float16 or bfloat16", found=str(tensor.dtype), hint=_HINT)
    check_sizes(file, tuple(tensor.shape))
    held = tensor.untyped_storage().nbytes()
    if held != stored:
        raise InvalidSoftPromptError(file=file, field="length", expected=f"{held} bytes of numbers", found=f"{stored} bytes")
    if (wanted := tensor.numel() * tensor.element_size()) > stored:  # one number may be told to stand in every place
        raise InvalidSoftPromptError(file=file, field="length", expected=f"{wanted} bytes of numbers", found=f"{stored} bytes")


__all__ = ["ENCODER_FILE", "PICKLE_MEMBER", "read_caikit"]
