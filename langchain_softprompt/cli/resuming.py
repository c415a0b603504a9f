"""Going on with a run: what it was begun with is in its folder, and nothing else may be asked for."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import typer

from langchain_softprompt.errors import InvalidSettingsError, RunFolderError


def asked_for(context: typer.Context) -> dict[str, Any]:
    """The command's options by name, as JSON can hold them: a run's notes."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in context.params.items()}


def recorded(context: typer.Context, output: Path, needed: Collection[str], *, may: Collection[str] = ()) -> dict[str, Any]:
    """What a run was begun with.

    Args:
        context: The command, with what was asked for now.
        output: The run's folder.
        needed: Notes that a run of this command has.
        may: Options that may be given anew, beside where the run is and how to tell its result.

    Raises:
        InvalidSettingsError: Something else is asked for.
        RunFolderError: The folder holds no run of this command.
    """
    from langchain_softprompt.training import RunFolder

    for name in context.params:
        given = context.get_parameter_source(name)
        if given is not None and given.name == "COMMANDLINE" and name not in {"output", "resume", "json", *may}:
            msg = f"--resume goes on with what the run was begun with; leave --{name.replace('_', '-')} out, or start another run."
            raise InvalidSettingsError(msg)
    folder = RunFolder.open(output)
    try:
        notes = folder.settings().get("notes")
    finally:
        folder.close()
    if not isinstance(notes, dict) or not set(needed) <= set(notes):
        call = f"{context.info_name}(..., output=..., resume=True)"
        msg = f"{output} was not begun by this command. Go on with it from Python: {call}."
        raise RunFolderError(msg)
    return notes


def absolute(name: str | None) -> str | None:
    """A file's whole path, so that a run finds it again from elsewhere; anything else as it is."""
    return str(Path(name).resolve()) if name is not None and Path(name).exists() else name


__all__ = ["absolute", "asked_for", "recorded"]
