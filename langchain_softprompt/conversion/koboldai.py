"""KoboldAI's ``.zip``: ``tensor.npy`` and ``meta.json``.

The format is what KoboldAI-Client's ``fileops.checksp`` and ``aiserver.sprequest`` accept: a matrix with a row for each virtual
token and a column for each number of a token embedding, float32, float16 or bfloat16 as raw bytes (``V2``), fewer than 2048 rows;
beside it the prompt's name, author, model and description. The rows stand before the text, as in prompt tuning.
"""

from __future__ import annotations

import json
from typing import Any

from torch import Tensor

from langchain_softprompt.conversion.archive import Archive
from langchain_softprompt.conversion.npy import read_npy
from langchain_softprompt.errors import InvalidSoftPromptError
from langchain_softprompt.printable import printable

TENSOR_MEMBER = "tensor.npy"
META_MEMBER = "meta.json"
_MOST_ROWS = 2047
_MOST_META_BYTES = 1 << 20
_TOLD = ("name", "author", "supported", "description")
_LONGEST = 2000


def read_koboldai(archive: Archive) -> tuple[Tensor, dict[str, str]]:
    """Read the rows and what the file says about them.

    Returns:
        Embeddings, ``[virtual_tokens, hidden_size]``, in the dtype they were stored in; and name, author, the model it says it
        is for (``supported``) and description, as far as they are there.

    Raises:
        UnsafeFileError: The array is of Python objects.
        InvalidSoftPromptError: A member is malformed.
    """
    rows = read_npy(f"{archive.file}/{TENSOR_MEMBER}", archive.read(TENSOR_MEMBER), most_rows=_MOST_ROWS)
    return rows, _about(archive) if META_MEMBER in archive.names else {}


def _about(archive: Archive) -> dict[str, str]:
    content = archive.read(META_MEMBER, _MOST_META_BYTES)
    file = f"{archive.file}/{META_MEMBER}"
    try:
        parsed: Any = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidSoftPromptError(file=file, field="content", expected="valid JSON", found=printable(error)) from error
    if not isinstance(parsed, dict):
        raise InvalidSoftPromptError(file=file, field="content", expected="a JSON object", found=type(parsed).__name__)
    told = {name: parsed.get(name) for name in _TOLD}
    lists = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in told.items()}
    return {name: printable(value, _LONGEST) for name, value in lists.items() if isinstance(value, str) and value}


__all__ = ["META_MEMBER", "TENSOR_MEMBER", "read_koboldai"]
