"""Which files Python opens while a piece of code runs."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import langchain_softprompt

# Modules are imported on first use; that is the interpreter reading its own code.
_CODE = [*{path for path in sysconfig.get_paths().values() if path}, str(Path(langchain_softprompt.__file__).parent), sys.base_prefix]
_watching: list[tuple[tuple[str, ...], list[str]]] = []


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _watching and isinstance(arguments[0], str | bytes | os.PathLike):
        real = os.path.realpath(os.fsdecode(arguments[0]))
        allowed, outside = _watching[-1]
        if not any(real == place or real.startswith(place + os.sep) for place in allowed):
            outside.append(real)


sys.addaudithook(_notice)  # a hook can't be taken back, so there is one, and it looks only while it is asked to


@contextmanager
def opened_outside(*folders: Path) -> Iterator[Sequence[str]]:
    """The real paths opened meanwhile that lie neither in these folders nor in Python's own code."""
    outside: list[str] = []
    places = [*map(str, folders), *_CODE]
    _watching.append((tuple(os.path.realpath(place) for place in places), outside))
    try:
        yield outside
    finally:
        _watching.pop()
