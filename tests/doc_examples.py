"""Runs the examples in README.md and docs/*.md; CONTRIBUTING.md says how to write one.

``python``   executed in the document's namespace (or as a doctest when it begins with ``>>>``)
``bash``     executed by ``bash -euo pipefail``; must exit with 0
``console``  each ``$ command`` executed; what it prints must match the lines that follow, where ``...`` matches anything
others       shown, not executed

A document's examples share one new, empty working folder.
"""

from __future__ import annotations

import doctest
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sybil import Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

if TYPE_CHECKING:
    from sybil import Example

ROOT = Path(__file__).resolve().parent.parent
_MATCHING = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_SECONDS = 540


def _shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a reader with the environment activated would, in a wide terminal without colours."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "COLUMNS": "140",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def run_bash(example: Example) -> str | None:
    """Evaluate a ``bash`` block; the returned text is the failure."""
    done = _shell(example.parsed)
    return None if done.returncode == 0 else f"exit status {done.returncode} from:\n{example.parsed}\nIt printed:\n{done.stdout}"


def run_console(example: Example) -> str | None:
    """Evaluate a ``console`` block: commands after ``$``, continued after ``>``, each followed by what it prints."""
    for command, expected in _transcript(example.parsed):
        done = _shell(command)
        if done.returncode != 0:
            return f"exit status {done.returncode} from:\n$ {command}\nIt printed:\n{done.stdout}"
        if expected and not doctest.OutputChecker().check_output(expected, done.stdout, _MATCHING):
            return f"$ {command}\nExpected:\n{expected}\nIt printed:\n{done.stdout}"
    return None


def _transcript(text: str) -> list[tuple[str, str]]:
    """Split a console block into commands and what each is expected to print."""
    steps: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], ""))
        elif not steps:
            msg = f"A console block begins with '$ command', not with {line!r}."
            raise ValueError(msg)
        elif line.startswith("> ") and not steps[-1][1]:
            steps[-1] = (f"{steps[-1][0]}\n{line[2:]}", "")
        else:
            steps[-1] = (steps[-1][0], f"{steps[-1][1]}{line}\n")
    return steps


def _enter_folder(namespace: dict[str, Any]) -> None:
    namespace["_came_from"] = Path.cwd()
    namespace["_folder"] = tempfile.mkdtemp(prefix="docs-example-")
    os.chdir(namespace["_folder"])


def _leave_folder(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_came_from"])
    shutil.rmtree(namespace["_folder"])


documents = Sybil(
    parsers=[
        PythonCodeBlockParser(doctest_optionflags=_MATCHING),
        CodeBlockParser(language="bash", evaluator=run_bash),
        CodeBlockParser(language="console", evaluator=run_console),
        SkipParser(),
    ],
    path=str(ROOT),
    patterns=["README.md", "docs/*.md"],
    setup=_enter_folder,
    teardown=_leave_folder,
)
