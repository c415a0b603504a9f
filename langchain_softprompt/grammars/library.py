"""The one door to llguidance and jsonschema, which are an extra."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from langchain_softprompt.errors import MissingExtraError

_NAMES = ("llguidance", "jsonschema")


def available() -> bool:
    """Whether answers can be held to a grammar here; imports nothing."""
    return all(find_spec(name) is not None for name in _NAMES)


def library(name: str) -> Any:
    """One of the two libraries.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = (
            f"Structured output needs the package {name.partition('.')[0]}, which is not installed. "
            "Install it with: pip install 'langchain-softprompt[structured]'"
        )
        raise MissingExtraError(msg) from error


__all__ = ["available", "library"]
