"""The recorded evaluation is made again as it was made then, and its scores are told apart from chance."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from langchain_softprompt.ageing import ScoreAgain, check_soft_prompt, evaluation_fields
from langchain_softprompt.data import digest_rows
from langchain_softprompt.errors import EvaluationError, TrainingDataError
from langchain_softprompt.evaluation import EvaluationOptions, evaluate, soft_prompt_arm
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import tiny_model, tiny_soft_prompt
from tests.unit_tests.ageing.old import evaluated, made, rows


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


@pytest.fixture(scope="module")
def known(model: FrozenModel) -> list[dict[str, str]]:
    return rows(model, made(model, probes=False))


@pytest.fixture(scope="module")
def old(model: FrozenModel, known: list[dict[str, str]]) -> SoftPrompt:
    return evaluated(model, made(model), known)


def _with_record(soft_prompt: SoftPrompt, **changes: Any) -> SoftPrompt:
    record = soft_prompt.manifest.evaluation.model_copy(update=changes)
    return replace(soft_prompt, manifest=soft_prompt.manifest.model_copy(update={"evaluation": record}))


def test_on_the_same_rows_and_model_every_score_comes_again(model: FrozenModel, old: SoftPrompt, known: list[dict[str, str]]) -> None:
    """Three of four wanted answers are what the engine answers, counted by hand."""
    found = check_soft_prompt(model, old, data=known)
    again = found.evaluation
    assert (found.verdict, again.verdict, again.same_data, again.rows) == ("same", "same", True, 4)
    assert [score.metric for score in again.scores] == ["exact_match", "chrf"]
    assert again.scores[0].now == again.scores[0].then == 0.75
    assert again.scores[1].now == pytest.approx(again.scores[1].then)
    assert again.scores[0].now_interval == again.scores[0].then_interval
    assert again.notes == ()


def test_rows_with_more_fields_are_the_same_rows(model: FrozenModel, old: SoftPrompt, known: list[dict[str, str]]) -> None:
    assert evaluation_fields(old) == ["text", "answer"]
    more = [{**row, "note": "x"} for row in known]
    assert check_soft_prompt(model, old, data=more).evaluation.same_data


def test_a_soft_prompt_that_lost_its_answers_is_broken_by_its_score(
    model: FrozenModel, old: SoftPrompt, known: list[dict[str, str]]
) -> None:
    other = replace(old, tensors=tiny_soft_prompt(11).tensors)
    found = check_soft_prompt(model, other, data=known)
    assert (found.verdict, found.evaluation.scores[0].now, found.evaluation.scores[0].verdict) == ("broken", 0.0, "broken")


def test_other_rows_are_said_to_be_other_rows(model: FrozenModel, old: SoftPrompt, known: list[dict[str, str]]) -> None:
    again = check_soft_prompt(model, old, data=known[:3]).evaluation
    assert (again.same_data, again.rows, again.recorded_rows) == (False, 3, 4)
    assert again.scores[0].now == 1.0


def test_rows_that_were_drawn_are_drawn_again(model: FrozenModel, known: list[dict[str, str]]) -> None:
    drawn = random.Random(5).sample(known, 2)
    soft_prompt = made(model)
    options = EvaluationOptions(answers="free", max_tokens=3, resamples=200, knowledge=False, seed=5)
    found = evaluate(model, [soft_prompt_arm(soft_prompt)], drawn, target="answer", metrics=["exact_match"], options=options)
    recorded = replace(soft_prompt, manifest=soft_prompt.manifest.model_copy(update={"evaluation": found.record()}))
    again = check_soft_prompt(model, recorded, data=known).evaluation
    assert (again.same_data, again.rows) == (True, 2)
    assert recorded.manifest.evaluation.data == digest_rows(drawn)


def test_settings_and_scores_of_a_strangers_record_are_taken_only_as_far_as_they_make_sense(
    model: FrozenModel, old: SoftPrompt, known: list[dict[str, str]]
) -> None:
    settings = {"answers": "\x1b[31m", "max_tokens": 1 << 50, "seed": -1, "resamples": True, "ignore_case": "yes", "metrics": 7}
    scores = {"exact_match": 0.75, "my_own": 1.0, "hard prompt/exact_match": 0.1}
    found = check_soft_prompt(model, _with_record(old, settings=settings, scores=scores, intervals={}), data=known).evaluation
    assert [(score.metric, score.then_interval) for score in found.scores] == [("exact_match", None)]
    assert any(note.startswith("my_own is not measured again") for note in found.notes)
    assert all(note.isprintable() for note in found.notes)


def test_what_cant_be_made_again_is_refused_with_the_reason(model: FrozenModel, old: SoftPrompt, known: list[dict[str, str]]) -> None:
    with pytest.raises(EvaluationError, match=r"acme/old has no recorded evaluation to make again\. Record one: .* evaluate .*--record"):
        check_soft_prompt(model, made(model), data=known)
    with pytest.raises(EvaluationError, match="None of the scores recorded in acme/old is a metric of this package"):
        check_soft_prompt(model, _with_record(old, scores={"my_own": 1.0}), data=known)
    with pytest.raises(TrainingDataError, match="'answer'"):
        check_soft_prompt(model, old, data=[{"text": "Hello"}])


@pytest.mark.parametrize(
    ("higher", "then", "now", "same_data", "verdict"),
    [
        (True, (0.80, 0.70, 0.90), (0.71, 0.6, 0.8), True, "same"),
        (True, (0.80, 0.70, 0.90), (0.69, 0.6, 0.8), True, "drifted"),
        (True, (0.80, 0.70, 0.90), (0.69, 0.6, 0.8), False, "same"),
        (True, (0.80, 0.70, 0.90), (0.60, 0.5, 0.69), False, "drifted"),
        (True, (0.80, 0.70, 0.90), (0.39, 0.3, 0.5), True, "broken"),
        (True, (0.80, 0.70, 0.90), (0.95, 0.9, 1.0), True, "same"),
        (False, (2.0, 1.8, 2.2), (2.1, 1.9, 2.3), True, "same"),
        (False, (2.0, 1.8, 2.2), (2.3, 2.1, 2.5), True, "drifted"),
        (False, (2.0, 1.8, 2.2), (2.3, 2.1, 2.5), False, "same"),
        (False, (2.0, 1.8, 2.2), (9.0, 8.0, 9.9), False, "drifted"),
        (False, (2.0, 1.8, 2.2), (1.2, 1.1, 1.3), True, "same"),
        (True, (0.8, 0.7, 0.9), (math.nan, math.nan, math.nan), True, "unknown"),
    ],
)
def test_a_score_is_worse_where_the_rows_leave_no_room_for_chance(
    higher: bool, then: tuple[float, float, float], now: tuple[float, float, float], same_data: bool, verdict: str
) -> None:
    """On the same rows: outside the old interval. On others: the intervals don't meet. Less than half of a share: broken."""
    scale = "share" if higher else "number"
    assert ScoreAgain("score", higher, scale, then[0], then[1:], now[0], now[1:], same_data).verdict == verdict


def test_without_a_recorded_interval_any_loss_on_the_same_rows_counts() -> None:
    assert ScoreAgain("score", True, "share", 0.8, None, 0.79, (0.7, 0.9), same_data=True).verdict == "drifted"
    assert ScoreAgain("score", True, "share", 0.8, None, 0.8, (0.7, 0.9), same_data=True).verdict == "same"
