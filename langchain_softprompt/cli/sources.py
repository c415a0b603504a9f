"""Soft prompts as a command line names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_softprompt.soft_prompt import SoftPrompt


def load_soft_prompt(source: str, *, task: str | None = None) -> SoftPrompt:
    """Load a folder of that name where there is one, as a shell would complete it; else a reference as everywhere."""
    from langchain_softprompt.soft_prompt import SoftPrompt

    try:
        named = Path(source) if Path(source).expanduser().is_dir() else source
    except (RuntimeError, OSError, ValueError):  # nobody's home folder, a name too long: a reference, if anything
        named = source
    return SoftPrompt.load(named, task=int(task) if task is not None and task.isdecimal() else task)


def load_whole(source: str) -> SoftPrompt:
    """Load all tasks of a multitask prompt, or any other soft prompt."""
    return _whole(lambda task: load_soft_prompt(source, task=task))


def read_whole(folder: Path) -> SoftPrompt:
    """The same of a folder that was found by the rules already."""
    from langchain_softprompt.soft_prompt import SoftPrompt

    return _whole(lambda task: SoftPrompt.read(folder, task=int(task) if task is not None else None))


def _whole(load: Callable[[str | None], SoftPrompt]) -> SoftPrompt:
    from langchain_softprompt.errors import InvalidSoftPromptError

    try:
        return load(None)
    except InvalidSoftPromptError as error:
        if error.field != "task":
            raise
        return load("0")


__all__ = ["load_soft_prompt", "load_whole", "read_whole"]
