"""Going on with a run: what it was begun with is in its folder, and nothing else may be asked for."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import typer

from langchain_softprompt.cli.output import say
from langchain_softprompt.errors import InvalidSettingsError, RunFolderError

_COMMAND = "command"
INTERRUPTED = 130
USAGE = 2


def asked_for(context: typer.Context) -> dict[str, Any]:
    """The command's options by name, as JSON can hold them, and its own name: a run's notes."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in context.params.items()}
    return {**options, _COMMAND: context.info_name}


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
    if not isinstance(notes, dict) or not set(needed) <= set(notes) or notes.get(_COMMAND, context.info_name) != context.info_name:
        call = f"{context.info_name}(..., output=..., resume=True)"
        other = notes.get(_COMMAND) if isinstance(notes, dict) else None
        how = f"with langchain-softprompt {other} --resume" if other else f"from Python: {call}"
        msg = f"{output} was not begun by this command. Go on with it {how}."
        raise RunFolderError(msg)
    return notes


def is_done(output: Path) -> bool:
    """Whether the run in a folder is at its end."""
    from langchain_softprompt.training import RunFolder

    folder = RunFolder.open(output)
    try:
        state = folder.state()
    finally:
        folder.close()
    return state is None or bool(state.finished)


def usage_error(context: typer.Context, problem: str) -> typer.Exit:
    """What a command line that is wrong leads to: what is wrong with it, as typer tells it, and exit code 2."""
    say(f"{context.get_usage()}\nError: {problem}")
    return typer.Exit(USAGE)


def stopped(context: typer.Context, output: Path) -> typer.Exit:
    """What Ctrl-C before the first step leads to: how to go on, and the exit code that shells know it by."""
    say(f"Stopped. Go on with it: langchain-softprompt {context.info_name} --resume --output {output}")
    return typer.Exit(INTERRUPTED)


def absolute(name: str | None) -> str | None:
    """A file's whole path, so that a run finds it again from elsewhere; anything else as it is."""
    return str(Path(name).resolve()) if name is not None and Path(name).exists() else name


__all__ = ["INTERRUPTED", "absolute", "asked_for", "is_done", "recorded", "stopped", "usage_error"]
