"""The error tree: what is drawn is what is there."""

from __future__ import annotations

import inspect
import re

import pytest

from langchain_softprompt import errors


def _drawn() -> dict[str, str]:
    """Class name -> its parent's name, read off the drawing in the module's docstring."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([ │├└─]*)([A-Z]\w+Error)\b", line)
        if not found:
            continue
        depth, name = len(found[1]), found[2]
        while above and above[-1][0] >= depth:
            above.pop()
        parents[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    return parents


_CLASSES = dict(inspect.getmembers(errors, inspect.isclass))


def test_the_tree_drawn_in_the_docstring_is_the_class_tree() -> None:
    assert _drawn() == {name: kind.__bases__[0].__name__ for name, kind in _CLASSES.items()}


@pytest.mark.parametrize("name", sorted(_CLASSES))
def test_every_error_can_be_caught_as_a_soft_prompt_error(name: str) -> None:
    assert issubclass(_CLASSES[name], errors.SoftPromptError)


@pytest.mark.parametrize("name", sorted(_CLASSES))
def test_every_error_says_in_its_docstring_when_it_is_raised(name: str) -> None:
    assert inspect.getdoc(_CLASSES[name])


def test_an_invalid_soft_prompt_names_file_field_expected_found_and_what_to_do() -> None:
    error = errors.UnsafeFileError(file="a.json", field="size", expected="at most 4 bytes", found="9 bytes", hint="Fetch it again.")
    assert str(error) == "a.json: size: expected at most 4 bytes, found 9 bytes. Fetch it again."
    assert (error.file, error.field, error.expected, error.found) == ("a.json", "size", "at most 4 bytes", "9 bytes")


def test_a_training_data_error_names_file_and_line() -> None:
    assert str(errors.TrainingDataError("rows.csv", 3, "is empty.")) == "rows.csv, line 3: is empty."
    assert str(errors.TrainingDataError("rows.csv", None, "is empty.")) == "rows.csv: is empty."


@pytest.mark.parametrize(
    ("ours", "standard"),
    [
        (errors.InvalidReferenceError, ValueError),
        (errors.InvalidSettingsError, ValueError),
        (errors.SoftPromptNotFoundError, FileNotFoundError),
        (errors.ModelUnavailableError, FileNotFoundError),
        (errors.MissingExtraError, ImportError),
    ],
)
def test_an_error_is_also_the_standard_one_that_callers_expect(ours: type[Exception], standard: type[Exception]) -> None:
    assert issubclass(ours, standard)
