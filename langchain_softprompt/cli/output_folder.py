"""The folder that a command writes one soft prompt to: nobody's work is replaced unasked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_softprompt.errors import InvalidSettingsError

if TYPE_CHECKING:
    from langchain_softprompt.soft_prompt import SoftPrompt

_OF_A_RUN = ("settings.json", "log.jsonl")


def check_output(folder: Path, *, force: bool) -> None:
    """See whether a soft prompt may be written to a folder, before the work; nothing is made yet.

    Raises:
        InvalidSettingsError: It is no folder, or holds a soft prompt or a training run already.
    """
    from langchain_softprompt.hub import SOFT_PROMPT_FILES

    try:
        there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
        if os.path.lexists(there) and not (there.is_dir() and os.access(there, os.W_OK)):
            msg = f"output: {there} is no folder that can be written to. Name another one."
            raise InvalidSettingsError(msg)
        held = any(os.path.lexists(folder / name) for name in SOFT_PROMPT_FILES)
        run = all((folder / name).is_file() for name in _OF_A_RUN)
    except (OSError, ValueError) as error:
        msg = f"output: can't look at {str(folder)!r}: {error}. Choose another folder."
        raise InvalidSettingsError(msg) from error
    if run:  # A soft prompt written there would stand for the run's best.
        msg = f"output: {folder} is the folder of a training run. Choose another one."
        raise InvalidSettingsError(msg)
    if held and not force:
        msg = f"output: {folder} holds a soft prompt already. Replace it (--force), or choose another folder."
        raise InvalidSettingsError(msg)


def write(soft_prompt: SoftPrompt, folder: Path) -> Path:
    """Write a soft prompt.

    Returns:
        The folder.

    Raises:
        InvalidSettingsError: The folder can't be made or written to.
    """
    try:
        return soft_prompt.save(folder)
    except OSError as error:
        msg = f"output: can't write to {folder}: {error}. Choose another folder."
        raise InvalidSettingsError(msg) from error


__all__ = ["check_output", "write"]
