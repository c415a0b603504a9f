"""Verdicts say what the numbers say, and no more."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_softprompt.evaluation.statistics import Difference, Interval
from langchain_softprompt.evaluation.words import (
    compare,
    judge_free_answers,
    judge_gap,
    judge_knowledge,
    list_words,
    spell,
    spell_interval,
    spell_p,
)


def _compared(value: float, p_value: float, *, higher_is_better: bool = True, scale: str = "share") -> tuple[bool | None, str]:
    difference = Difference(value, Interval(value - 0.1, value + 0.1), p_value, "McNemar")
    scores = (0.5 + value, 0.5)
    return compare("A", "B", "accuracy", scores, difference, scale=scale, higher_is_better=higher_is_better, rows=60)  # type: ignore[arg-type]


def test_better_and_worse_are_said_only_where_chance_is_unlikely() -> None:
    assert _compared(0.3, 0.001) == (
        True,
        "A is better than B: accuracy 80.0 % against 50.0 %, +30.0 points (95 % interval +20.0 to +40.0; p = 0.001).",
    )
    better, verdict = _compared(-0.3, 0.049)
    assert (better, verdict.split(":")[0]) == (False, "A is worse than B")
    better, verdict = _compared(0.3, 0.05)
    assert (better, verdict.split(":")[0]) == (None, "These 60 rows do not show that A and B differ")


def test_less_is_better_where_the_metric_says_so() -> None:
    better, verdict = _compared(-0.3, 0.0001, higher_is_better=False, scale="number")
    assert better is True
    assert verdict == "A is better than B: accuracy 0.2 against 0.5, -0.3 (95 % interval -0.4 to -0.2; p < 0.001)."
    assert _compared(0.3, 0.0001, higher_is_better=False)[0] is False


def test_nothing_is_said_where_there_is_no_value() -> None:
    assert _compared(math.nan, math.nan) == (None, "Nothing can be said about A and B: accuracy has no value on these rows.")


@pytest.mark.parametrize(
    ("train", "new", "interval", "level", "words"),
    [
        (0.98, 0.71, (0.2, 0.35), "bad", "Learned by heart: accuracy 98.0 % on rows it was trained on, 71.0 % on new ones"),
        (0.95, 0.90, (0.01, 0.09), "caution", "A little better on what it has seen"),
        (0.95, 0.94, (-0.03, 0.05), "good", "No over-fitting shows"),
        (0.70, 0.60, (-0.04, 0.24), "caution", "Over-fitting is neither shown nor ruled out by so few rows"),
        (0.60, 0.80, (-0.3, -0.1), "good", "No over-fitting shows"),
        (0.02, 0.0, (-0.01, 0.05), "caution", "It hardly does its task even on rows it was trained on"),
        (math.nan, 0.5, (math.nan, math.nan), "caution", "Over-fitting can't be told"),
    ],
)
def test_over_fitting_is_told_in_plain_words(train: float, new: float, interval: tuple[float, float], level: str, words: str) -> None:
    told, verdict = judge_gap(train, new, train - new, Interval(*interval), "accuracy", "share", rows=60)
    assert told == level
    assert verdict.startswith(words)
    if level == "bad":
        assert verdict.endswith("Get more rows, fewer steps or fewer virtual tokens.")


@pytest.mark.parametrize("scale", ["share", "number"])
@given(rows=st.integers(1, 19), train=st.floats(0.06, 1), new=st.floats(0, 1), ends=st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_few_rows_never_rule_over_fitting_out(scale: str, rows: int, train: float, new: float, ends: tuple[float, float]) -> None:
    told, verdict = judge_gap(train, new, train - new, Interval(min(ends), max(ends)), "metric", scale, rows=rows)  # type: ignore[arg-type]
    assert told != "good"
    if min(ends) <= 0 or scale == "number":
        assert verdict.startswith(
            f"Over-fitting is neither shown nor ruled out by so few rows ({rows} on one side, and it takes at least 20)"
        )


def test_intervals_from_few_rows_that_are_resampled_are_called_too_narrow() -> None:
    def told(test: str, rows: int) -> str:
        difference = Difference(0.3, Interval(0.2, 0.4), 0.01, test)
        return compare("A", "B", "chrf", (0.5, 0.2), difference, scale="share", higher_is_better=True, rows=rows)[1]

    assert told("randomisation", 19).endswith("An interval from 19 rows is narrower than it should be.")
    assert told("randomisation", 20) == told("McNemar", 19) == told("McNemar", 20)


def test_one_row_is_spoken_of_as_one() -> None:
    difference = Difference(1.0, Interval(-0.95, 1.0), 1.0, "randomisation")
    _, verdict = compare("A", "B", "chrf", (1.0, 0.0), difference, scale="share", higher_is_better=True, rows=1)
    assert verdict.startswith("This 1 row does not show that A and B differ: ")
    assert verdict.endswith("An interval from 1 row is narrower than it should be.")


@pytest.mark.parametrize(
    ("chosen", "free", "told"), [(0.9, 0.0, True), (0.9, 0.44, True), (0.9, 0.5, False), (0.0, 0.0, False), (0.9, math.nan, False)]
)
def test_scores_that_need_answers_held_to_the_labels_are_told(*, chosen: float, free: float, told: bool) -> None:
    sentence = judge_free_answers("mood", "accuracy", chosen, free)
    assert bool(sentence) is told
    if free == 0 and told:
        assert sentence == "mood: its free answers are right in 0.0 %: the accuracy of 90.0 % needs answers held to the labels."


@pytest.mark.parametrize(
    ("unchanged", "divergence", "level", "words"),
    [
        (True, 0.02, "good", "hardly read another way"),
        (True, 0.5, "good", "somewhat differently"),
        (True, 3.0, "caution", "use it for its own task only"),
        (False, 0.0, "bad", "This must not happen"),
    ],
)
def test_what_is_left_of_the_model_is_told_in_plain_words(*, unchanged: bool, divergence: float, level: str, words: str) -> None:
    told, verdict = judge_knowledge(unchanged=unchanged, divergence=divergence, perplexity_off=20.0, perplexity_on=30.0)
    assert told == level
    assert words in verdict


def test_numbers_are_spelled_as_people_read_them() -> None:
    assert [spell(0.7123, "share"), spell(12.345, "number"), spell(math.nan, "share")] == ["71.2 %", "12.3", "–"]  # noqa: RUF001 - a dash
    assert spell_interval(Interval(0.1, 0.25), "share") == "10.0 to 25.0 %"
    assert [spell_p(p) for p in (0.00001, 0.0123, 0.456, math.nan)] == ["p < 0.001", "p = 0.012", "p = 0.46", "p unknown"]
    assert [list_words(["a"]), list_words(["a", "b", "c"])] == ["a", "a, b and c"]
