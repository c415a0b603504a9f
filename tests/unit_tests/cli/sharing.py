"""The commands that share soft prompts, as one runs them."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from langchain_softprompt.cli.app import app
from langchain_softprompt.errors import SoftPromptError
from tests.unit_tests.hub.shared import soft_prompt_files

NAME = "tester/router"


def write(folder: str, seed: int) -> None:
    Path(folder).mkdir(exist_ok=True)
    for name, content in soft_prompt_files(seed).items():
        (Path(folder) / name).write_bytes(content or b"")


def run(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=answer)


def told(*arguments: str) -> dict:  # type: ignore[type-arg]
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output + repr(result.exception)
    parsed: dict = json.loads(result.stdout)  # type: ignore[type-arg]
    return parsed


def refused(error: type[SoftPromptError], *arguments: str) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, error), result.output + repr(result.exception)
    return str(result.exception)
