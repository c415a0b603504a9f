"""Whatever is in a soft prompt's folder: a typed error or a working soft prompt, and no file read outside the folder."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_softprompt.errors import InvalidSoftPromptError, SoftPromptError
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.soft_prompt.mutations import SIX_TYPES, Drawn, folders, valid
from tests.unit_tests.soft_prompt.open_watch import opened_outside
from tests.unit_tests.soft_prompt.peft_folders import frozen, logits_at_once, task_of, text

EXAMPLES = 2_000
OUTCOMES = (
    "works",
    "InvalidSoftPromptError",
    "UnsupportedSoftPromptError",
    "UnsafeFileError",
    "NonFiniteSoftPromptError",
    "ModelMismatchError",
)
_dtypes = st.sampled_from((torch.float32, torch.float32, torch.float16, torch.bfloat16))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where folders are written, beside a valid soft prompt that lies outside of them."""
    path = tmp_path_factory.mktemp("folders")
    Drawn("outside", dict(valid("PROMPT_TUNING"))).write(path / "outside")
    return path


def test_any_folder_gives_a_typed_error_or_a_working_soft_prompt(base: Path) -> None:
    """Whether every kind of outcome occurs is counted too: else the property would hold for nothing."""
    outcomes: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(drawn=folders(), dtype=_dtypes, other=st.booleans())
    def check(drawn: Drawn, dtype: torch.dtype, other: bool) -> None:
        outcomes[_outcome(base / "prompt", drawn, dtype, other)] += 1

    check()
    assert outcomes.total() >= EXAMPLES
    assert not {outcome for outcome in OUTCOMES if outcomes[outcome] < 10}, outcomes


def _outcome(folder: Path, drawn: Drawn, dtype: torch.dtype, allow_other_model: bool) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    drawn.write(folder)
    model = frozen("llama", dtype=dtype)
    outcome = "works"
    with opened_outside(folder) as outside:
        try:
            prefix = compile_prefix(model, SoftPrompt.load(folder, task=drawn.task), allow_other_model=allow_other_model)
            assert torch.isfinite(logits_at_once(model, prefix, text())).all()
        except SoftPromptError as error:
            _check_message(error)
            outcome = type(error).__name__
    assert not outside
    return outcome


def _check_message(error: SoftPromptError) -> None:
    message = str(error)
    assert message.isprintable()
    assert len(message) < 2_000
    message.encode()
    if isinstance(error, InvalidSoftPromptError):
        assert message.startswith(f"{error.file}: {error.field}: expected {error.expected}, found {error.found}.")
        assert all((error.file, error.field, error.expected, error.found))


@pytest.mark.parametrize("kind", SIX_TYPES)
def test_the_folder_that_nothing_was_done_to_works(kind: str, base: Path) -> None:
    folder = base / kind
    Drawn(kind, dict(valid(kind))).write(folder)
    with opened_outside(folder) as outside:
        prefix = compile_prefix(frozen("llama"), SoftPrompt.load(folder, task=task_of(kind)))
    assert not outside
    assert torch.isfinite(logits_at_once(frozen("llama"), prefix, text())).all()


def test_the_watch_sees_a_file_opened_outside_in_every_way(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_text("x")
    (inside / "link").symlink_to(tmp_path / "secret")
    with opened_outside(inside) as outside:
        (inside / "link").read_text()
        with open(f"{inside}/../secret", "rb"):  # noqa: PTH123
            pass
        (inside / "own").write_text("y")
    assert outside == [str((tmp_path / "secret").resolve())] * 2
