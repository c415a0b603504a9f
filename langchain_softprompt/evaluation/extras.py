"""The libraries of the extra ``eval``, imported when they are first needed."""

from __future__ import annotations

import importlib
from typing import Any

from langchain_softprompt.errors import MissingExtraError

_PACKAGES = {"sklearn": "scikit-learn"}


def need(module: str) -> Any:
    """Import a module of the extra.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        msg = f"Evaluation needs {_PACKAGES.get(name, name)}. Install it: pip install 'langchain-softprompt[eval]'."
        raise MissingExtraError(msg) from error


__all__ = ["need"]
