"""Server-sent events, out of bytes that a server sends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, NoReturn

from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.printable import printable

# The first event repeats the prompt's token ids, each of them a few bytes; later ones hold a few tokens with their likeliest
# neighbours.
_LONGEST_EVENT = 16 << 20
_LONGEST_ANSWER = 256 << 20
_DONE = "[DONE]"


async def events(pieces: AsyncIterable[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream of events, up to its end or to the word that it is done.

    Raises:
        RequestFailedError: It is no such stream, or longer than any answer.
    """
    left, total = b"", 0
    async for piece in pieces:
        total += len(piece)
        *lines, left = (left + piece).split(b"\n")
        if len(left) > _LONGEST_EVENT or total > _LONGEST_ANSWER:
            _malformed(f"an answer of {total} bytes and more", "one of the length that was asked for")
        for line in lines:
            data = _data(line)
            if data == _DONE:
                return
            if data is not None:
                yield read_json(data)
    if left.strip():
        _malformed(f"{printable(left.decode(errors='replace'))!r} at the end of the stream", "whole events")


def read_json(text: str | bytes) -> dict[str, Any]:
    """A JSON object that a server sent.

    Raises:
        RequestFailedError: It is none.
    """
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        shown = text if isinstance(text, str) else text.decode(errors="replace")
        _malformed(f"{printable(shown)!r}", f"JSON ({printable(error)})")
    if not isinstance(value, dict):
        _malformed(f"{printable(value)!r}", "a JSON object")
    return value


def _data(line: bytes) -> str | None:
    """What a line says; ``None`` for one that says nothing: blank, a comment, or another field of an event."""
    line = line.rstrip(b"\r")
    if not line or line.startswith((b":", b"event:", b"id:", b"retry:")):
        return None
    try:
        text = line.decode()
    except UnicodeDecodeError:
        _malformed(f"{printable(line.decode(errors='replace'))!r}", "UTF-8")
    if not text.startswith("data:"):
        _malformed(f"{printable(text)!r}", "server-sent events, as vLLM streams them")
    return text.removeprefix("data:").strip()


def _no_number(name: str) -> NoReturn:
    msg = f"{name} is no number of JSON"
    raise ValueError(msg)


def _malformed(found: str, expected: str) -> NoReturn:
    msg = f"The server's answer can't be read: expected {expected}, found {found}."
    raise RequestFailedError(msg)


__all__ = ["events", "read_json"]
