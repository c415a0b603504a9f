"""A matrix out of an ``.npy`` file, without numpy's pickles."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from langchain_softprompt.conversion.rows import check_sizes
from langchain_softprompt.errors import InvalidSoftPromptError, UnsafeFileError
from langchain_softprompt.printable import printable

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}
# numpy's own for a matrix has 118; it pads them so that the numbers begin at a multiple of 64.
_MOST_HEADER_BYTES = 4096
_FIELD = re.compile(
    r"\s*(?P<quote>['\"])(?P<name>descr|fortran_order|shape)(?P=quote)\s*:\s*"
    r"(?:(?P<mark>['\"])(?P<descr>[<>|=]?\w{1,8})(?P=mark)|(?P<order>True|False)|\((?P<shape>[\d\s,]{0,200})\))\s*(?:,|$)"
)
_KINDS = {"descr": "descr", "fortran_order": "order", "shape": "shape"}
# numpy has no bfloat16: one that was saved is called raw bytes, two a number.
_DTYPES = {"<f4": torch.float32, "<f2": torch.float16, "|V2": torch.bfloat16, "<V2": torch.bfloat16, "V2": torch.bfloat16}
_RAW = {torch.float32: "<i4", torch.float16: "<i2", torch.bfloat16: "<i2"}


def read_npy(file: str, content: bytes, *, most_rows: int) -> Tensor:
    """Read a matrix of float32, float16 or bfloat16.

    The header (numpy.lib.format, NEP 1) is text that numpy evaluates; here only the three fields of a plain array are read
    off it, and nothing is evaluated.

    Args:
        file: What the file is called in messages.
        content: The whole file.
        most_rows: Most rows it may have.

    Returns:
        The matrix, ``[rows, columns]``, in memory of its own, whichever of its axes lay together in the file.

    Raises:
        UnsafeFileError: It holds Python objects, which are pickled.
        InvalidSoftPromptError: It is no such matrix, is cut short, or goes on after its end.
    """
    header, numbers = _split(file, content)
    descr, by_columns, shape = _fields(file, header)
    if "O" in descr:
        hint = "Arrays of Python objects are pickles, which can run code. Save the numbers as float32."
        raise UnsafeFileError(file=file, field="dtype", expected="numbers", found="Python objects", hint=hint)
    if descr not in _DTYPES:
        expected = "little-endian float32 ('<f4'), float16 ('<f2') or bfloat16 ('|V2')"
        raise InvalidSoftPromptError(file=file, field="dtype", expected=expected, found=repr(descr))
    check_sizes(file, shape, most_rows=most_rows)
    dtype = _DTYPES[descr]
    wanted = shape[0] * shape[1] * dtype.itemsize
    if len(numbers) != wanted:
        raise InvalidSoftPromptError(
            file=file, field="length", expected=f"{wanted} bytes of numbers ({shape[0]} x {shape[1]})", found=f"{len(numbers)} bytes"
        )
    raw = np.frombuffer(numbers, _RAW[dtype]).reshape(shape, order="F" if by_columns else "C")
    return torch.from_numpy(np.array(raw, dtype=raw.dtype.newbyteorder("="), order="C")).view(dtype)


def _split(file: str, content: bytes) -> tuple[str, memoryview]:
    """The header's text, and the numbers after it."""
    start = len(_MAGIC) + 2
    if content[: len(_MAGIC)] != _MAGIC or len(content) < start:
        raise InvalidSoftPromptError(file=file, field="format", expected="an .npy file", found="something else")
    version = (content[start - 2], content[start - 1])
    if version not in _LENGTH_BYTES:
        found = ".".join(map(str, version))
        raise InvalidSoftPromptError(file=file, field="version", expected="1.0 or 2.0 of the .npy format", found=found)
    begin = start + _LENGTH_BYTES[version]
    length = int.from_bytes(content[start:begin], "little")
    if length > _MOST_HEADER_BYTES:
        raise InvalidSoftPromptError(
            file=file, field="header", expected=f"at most {_MOST_HEADER_BYTES} bytes", found=f"a header of {length} bytes"
        )
    if len(content) < begin + length:
        raise InvalidSoftPromptError(file=file, field="header", expected=f"{length} bytes", found=f"{max(0, len(content) - begin)} bytes")
    return content[begin : begin + length].decode("latin-1"), memoryview(content)[begin + length :]


def _fields(file: str, header: str) -> tuple[str, bool, tuple[int, ...]]:
    """Type, whether columns lie together, and sizes."""
    text, found, place = header.strip(), {}, 1
    whole = text.startswith("{") and text.endswith("}")
    body = text[:-1].rstrip()
    while whole and (field := _FIELD.match(body, place)) is not None:
        name = field["name"]
        value = field[_KINDS[name]]
        whole = value is not None and name not in found
        found[name] = value
        place = field.end()
    if not whole or body[place:].strip() or set(found) != set(_KINDS):
        raise InvalidSoftPromptError(
            file=file, field="header", expected="descr, fortran_order and shape of a plain array", found=_told(text)
        )
    sizes = [part.strip() for part in found["shape"].split(",")]
    sizes = sizes[:-1] if sizes[-1] == "" else sizes
    if not all(re.fullmatch(r"[0-9]{1,12}", size) for size in sizes):
        raise InvalidSoftPromptError(file=file, field="shape", expected="whole numbers", found=_told(found["shape"]))
    return found["descr"], found["fortran_order"] == "True", tuple(int(size) for size in sizes)


def _told(text: str) -> str:
    return printable(text) if text else "nothing"


__all__ = ["read_npy"]
