"""Cross-validation: killed or stopped at any moment, it is gone on with, and a fold that was cut short is never a result."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.testing import tiny_model
from langchain_softprompt.training import CrossValidation, Nobody, cross_validate
from tests.unit_tests.training.learning import PROMPT, ROWS, VALIDATION
from tests.unit_tests.training.stopping import Killed, Stopper

_ROWS = [*ROWS, *VALIDATION]
_SETTINGS = TrainingSettings(max_steps=4, batch_size=3, save_every=2, evaluate_every=2)
_WORDS = 3 + 3 * 4  # Three rates tried in the first fold, four steps in each of three.


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


@pytest.fixture(scope="module")
def whole(model: FrozenModel) -> CrossValidation:
    return _validate(model, None)


def _validate(model: FrozenModel, output: Path | None, *, resume: bool = False, watcher: Nobody | None = None) -> CrossValidation:
    return cross_validate(model, PROMPT, _ROWS, target="label", count=3, settings=_SETTINGS, output=output, resume=resume, watcher=watcher)


def _same(one: CrossValidation, other: CrossValidation) -> None:
    assert (one.numbers, one.learning_rate, one.steps, one.facts()) == (other.numbers, other.learning_rate, other.steps, other.facts())
    assert [fold.soft_prompt.content_hash for fold in one.folds] == [fold.soft_prompt.content_hash for fold in other.folds]


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=st.lists(st.integers(min_value=1, max_value=_WORDS), min_size=1, max_size=3))
def test_killed_at_any_moments_it_ends_with_the_same_folds(
    model: FrozenModel, whole: CrossValidation, tmp_path_factory: pytest.TempPathFactory, moments: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("folds")
    for moment in moments:
        try:
            _validate(model, folder, resume=True, watcher=Stopper(moment, Killed))
        except Killed:
            continue
    _same(_validate(model, folder, resume=True), whole)


@pytest.mark.parametrize("moment", [4, 6, 9, _WORDS - 2])
def test_ctrl_c_in_a_fold_ends_it_all_and_resume_goes_on(model: FrozenModel, whole: CrossValidation, tmp_path: Path, moment: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        _validate(model, tmp_path, watcher=Stopper(moment, KeyboardInterrupt))
    _same(_validate(model, tmp_path, resume=True), whole)


def test_ctrl_c_without_a_folder_is_no_result_either(model: FrozenModel) -> None:
    with pytest.raises(KeyboardInterrupt):
        _validate(model, None, watcher=Stopper(6, KeyboardInterrupt))
