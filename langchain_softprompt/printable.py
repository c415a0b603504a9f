"""A stranger's text as it may be told: in one line, short, and steering no terminal."""

from __future__ import annotations

import reprlib

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 200
_REPR.maxlevel = 3


def shown(value: object) -> str:
    """A value out of a file as it may stand in a message: escaped and short, however large or deep it is."""
    return printable(_REPR.repr(value))


def printable(value: object, length: int = 200) -> str:
    """Text out of a file, or an error about one, as it may stand in a message: no control characters, short."""
    text = str(value) or type(value).__name__
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[: length + 1])
    return text if len(text) <= length else text[: length - 1] + "…"


__all__ = ["printable", "shown"]
