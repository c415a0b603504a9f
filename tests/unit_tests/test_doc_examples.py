"""The examples in the documents run, and nothing slips past unrun."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.doc_examples import ROOT, run_bash, run_console

PAGES = [path for path in sorted((ROOT / "docs").glob("**/*.md")) if "_build" not in path.parts]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
EXECUTED = {"python", "bash", "console"}
SHOWN = {"text", "json", "jsonl", "toml", "yaml", "ini", "makefile", "markdown"}
DIRECTIVE = re.compile(r"\{[a-z:-]+\}")


def example(text: str) -> SimpleNamespace:
    return SimpleNamespace(parsed=text)


def test_bash_that_succeeds_passes() -> None:
    assert run_bash(example("true && echo yes")) is None


def test_bash_that_fails_in_the_middle_of_a_pipe_fails_and_shows_what_was_printed() -> None:
    failure = run_bash(example("echo before\nfalse | cat\necho after"))
    assert failure is not None
    assert "exit status 1" in failure
    assert "before" in failure.split("It printed:")[1]
    assert "after" not in failure.split("It printed:")[1]


def test_console_output_is_compared_with_dots_for_anything() -> None:
    assert run_console(example("$ echo one two three\none ... three\n$ echo a \\\n> b\na b\n")) is None


def test_console_output_that_differs_fails() -> None:
    failure = run_console(example("$ echo one\ntwo\n"))
    assert failure is not None
    assert "Expected:\ntwo" in failure


def test_console_block_must_begin_with_a_command() -> None:
    with pytest.raises(ValueError, match="begins with"):
        run_console(example("echo one\n"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_code_block_has_a_language_that_is_executed_or_known_to_be_only_shown(path: Path) -> None:
    """Spelling `py` or `sh`, or no language at all, would let an example go unrun."""
    fences = re.findall(r"^[ \t]*(?:[-*+][ \t]+)?(`{3,}|~{3,})[ \t]*(\S*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    languages = [language for _, language in fences[::2]]
    unknown = [language for language in languages if language not in EXECUTED | SHOWN and not DIRECTIVE.fullmatch(language)]
    assert not unknown


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_example_that_is_not_run_says_why(path: Path) -> None:
    """Written `<!-- skip: next "the reason" -->`, so that the reason shows in the test report."""
    text = path.read_text(encoding="utf-8")
    skips = re.findall(r"^.*\bskip:.*$", text, re.MULTILINE)
    wrong = [line for line in skips if not re.fullmatch(r'\s*<!-- skip: (next|start) "[^"]{4,}" -->|\s*<!-- skip: end -->', line)]
    assert not wrong
