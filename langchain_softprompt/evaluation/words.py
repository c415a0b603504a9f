"""Verdicts in plain words, and numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from langchain_softprompt.evaluation.metrics.metric import Scale
from langchain_softprompt.evaluation.results import Level
from langchain_softprompt.evaluation.statistics import Difference, Interval

SIGNIFICANT = 0.05
FEWEST_ROWS = 20  # fewer can't rule anything out, and a bootstrap of them is too sure of itself
_BY_HEART = 0.10  # points a share may fall by from training rows to new ones before that is called learned by heart
_NOTHING_LEARNED = 0.05
_HARDLY, _SOMEWHAT = 0.1, 1.0  # nats a token
_MOSTLY_WRONG = 0.5


def spell(value: float, scale: Scale) -> str:
    """A score: shares as percent, other numbers with three digits."""
    if math.isnan(value):
        return "–"  # noqa: RUF001 - a dash, not a minus
    return f"{100 * value:.1f} %" if scale == "share" else f"{value:.3g}"


def spell_interval(interval: Interval, scale: Scale) -> str:
    """An interval: its two ends."""
    if math.isnan(interval.low):
        return "–"  # noqa: RUF001
    if scale == "share":
        return f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %"
    return f"{interval.low:.3g} to {interval.high:.3g}"


def spell_difference(difference: float, scale: Scale) -> str:
    """A difference: shares as percentage points."""
    if math.isnan(difference):
        return "–"  # noqa: RUF001
    return f"{100 * difference:+.1f} points" if scale == "share" else f"{difference:+.3g}"


def spell_range(interval: Interval, scale: Scale) -> str:
    """The interval of a difference."""
    if math.isnan(interval.low):
        return "–"  # noqa: RUF001
    factor = 100 if scale == "share" else 1
    digits = "+.1f" if scale == "share" else "+.3g"
    return f"{factor * interval.low:{digits}} to {factor * interval.high:{digits}}"


def spell_p(p_value: float) -> str:
    """A p-value, no more exact than it is."""
    if math.isnan(p_value):
        return "p unknown"
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"


def spell_answers(mode: str) -> str:
    """Which answers a metric was measured on."""
    return {"choices": "one of the labels", "free": "free answers", "wanted": "wanted answer"}[mode]


def compare(
    arm: str,
    other: str,
    metric: str,
    scores: tuple[float, float],
    difference: Difference,
    *,
    scale: Scale,
    higher_is_better: bool,
    rows: int,
) -> tuple[bool | None, str]:
    """Whether one arm is better than another, and the same in words.

    Args:
        arm: The one.
        other: The other.
        metric: What was measured.
        scores: Of the one and of the other.
        difference: How far they are apart.
        scale: What the metric's numbers are.
        higher_is_better: Whether more is better.
        rows: How many rows they answered.
    """
    sure = f"95 % interval {spell_range(difference.interval, scale)}; {spell_p(difference.p_value)}"
    numbers = f"{metric} {spell(scores[0], scale)} against {spell(scores[1], scale)}, {spell_difference(difference.value, scale)} ({sure})"
    if math.isnan(difference.value) or math.isnan(difference.p_value):
        return None, f"Nothing can be said about {arm} and {other}: {metric} has no value on these rows."
    few = f" An interval from {_count(rows)} is narrower than it should be." if difference.test != "McNemar" and rows < FEWEST_ROWS else ""
    if difference.p_value >= SIGNIFICANT:
        return None, f"{_these(rows)} not show that {arm} and {other} differ: {numbers}.{few}"
    if (difference.value > 0) == higher_is_better:
        return True, f"{arm} is better than {other}: {numbers}.{few}"
    return False, f"{arm} is worse than {other}: {numbers}.{few}"


def judge_gap(
    train: float, new: float, difference: float, interval: Interval, metric: str, scale: Scale, *, rows: int
) -> tuple[Level, str]:
    """Whether a soft prompt has learned its training rows by heart.

    Args:
        train: Score on training rows.
        new: Score on new rows.
        difference: How much better it is on training rows; above 0 is better, whichever way the metric goes.
        interval: The difference's interval.
        metric: What was measured.
        scale: What the metric's numbers are.
        rows: How many rows there are of the kind that there are fewer of.
    """
    numbers = f"{metric} {spell(train, scale)} on rows it was trained on, {spell(new, scale)} on new ones"
    apart = f"{spell_difference(difference, scale)} better on the former, 95 % interval {spell_range(interval, scale)}"
    if math.isnan(difference) or math.isnan(interval.low):
        return "caution", f"Over-fitting can't be told: {metric} has no value on these rows."
    if scale == "share" and train <= _NOTHING_LEARNED:
        return "caution", f"It hardly does its task even on rows it was trained on, so there is nothing to over-fit: {numbers}."
    if rows < FEWEST_ROWS and (interval.low <= 0 or scale != "share"):
        few = f"{rows} on one side, and it takes at least {FEWEST_ROWS}"
        return "caution", f"Over-fitting is neither shown nor ruled out by so few rows ({few}): {numbers} ({apart})."
    if interval.low <= 0 and scale == "share" and interval.high >= _BY_HEART:
        return "caution", f"Over-fitting is neither shown nor ruled out by so few rows: {numbers} ({apart})."
    if interval.low <= 0:
        return "good", f"No over-fitting shows: {numbers} ({apart})."
    if scale == "share" and difference >= _BY_HEART:
        return "bad", f"Learned by heart: {numbers} ({apart}). Get more rows, fewer steps or fewer virtual tokens."
    return "caution", f"A little better on what it has seen: {numbers} ({apart}). More rows would help."


def judge_free_answers(arm: str, metric: str, chosen: float, free: float) -> str:
    """That a soft prompt is good only at choosing among the labels; empty where its free answers are right about as often.

    Args:
        arm: The soft prompt.
        metric: What was measured on chosen answers.
        chosen: Its score.
        free: The share of free answers that are right.
    """
    if not free < _MOSTLY_WRONG * chosen:
        return ""
    needs = f"the {metric} of {spell(chosen, 'share')} needs answers held to the labels"
    return f"{arm}: its free answers are right in {spell(free, 'share')}: {needs}."


def judge_knowledge(*, unchanged: bool, divergence: float, perplexity_off: float, perplexity_on: float) -> tuple[Level, str]:
    """What a soft prompt leaves of the bare model.

    Args:
        unchanged: Whether the bare model's logits are what they were.
        divergence: From the bare model to the model with the soft prompt, nats a token.
        perplexity_off: Of neutral text, without it.
        perplexity_on: With it.
    """
    numbers = f"{divergence:.2f} nats a token, perplexity {perplexity_off:.3g} without and {perplexity_on:.3g} with it"
    if not unchanged:
        return "bad", (
            "With the soft prompt off, the model's logits are not what they were before it was used. This must not happen: "
            "the model was changed in memory, or the device does not compute alike twice."
        )
    off = "With the soft prompt off, the model's logits are bit for bit what they were before it was used: nothing is lost."
    if divergence < _HARDLY:
        return "good", f"{off} With it on, text about other things is hardly read another way ({numbers})."
    if divergence < _SOMEWHAT:
        return "good", f"{off} With it on, text about other things is read somewhat differently ({numbers})."
    return "caution", f"{off} With it on, text about other things is read quite differently ({numbers}): use it for its own task only."


def _count(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"


def _these(rows: int) -> str:
    return "This 1 row does" if rows == 1 else f"These {rows} rows do"


def list_words(words: Sequence[str]) -> str:
    """Words with commas and an "and"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


__all__ = [
    "FEWEST_ROWS",
    "SIGNIFICANT",
    "compare",
    "judge_free_answers",
    "judge_gap",
    "judge_knowledge",
    "list_words",
    "spell",
    "spell_answers",
    "spell_difference",
    "spell_interval",
    "spell_p",
    "spell_range",
]
