"""Metrics by name, and by what the wanted answers look like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from langchain_softprompt.data import is_classification
from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.evaluation.metrics import json_answers, labels, likelihoods, texts
from langchain_softprompt.evaluation.metrics.functions import RowFunction, function_metric
from langchain_softprompt.evaluation.metrics.metric import Measured, Metric

Task = Literal["classification", "json", "text"]

_KNOWN = (
    Metric("accuracy", labels.accuracy, "Share of rows answered with the wanted label.", judges="label"),
    Metric("macro_f1", labels.macro_f1, "F1 of each label, averaged: rare labels count as much as common ones.", judges="label"),
    Metric("exact_match", texts.exact_match, "Share of free answers that are the wanted text, outer white space aside."),
    Metric("chrf", texts.chrf, "Overlap with the wanted text in runs of up to six letters (chrF)."),
    Metric("json_exact_match", json_answers.json_exact_match, "Share of answers that are the wanted JSON, name for name, value for value."),
    Metric("slot_f1", json_answers.slot_f1, "F1 of the (name, value) pairs in the JSON, over all rows together."),
    Metric("valid_json", json_answers.valid_json, "Share of answers that can be parsed as JSON."),
    Metric(
        "perplexity",
        likelihoods.perplexity,
        "How many tokens the model wavers between, on average, at each token of the wanted answer; 1 is certainty.",
        judges="likelihood",
        scale="number",
        higher_is_better=False,
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _KNOWN}
_WITHOUT_CASE = {"valid_json", "perplexity"}  # for which case does not matter

_BY_TASK: dict[Task, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1", "exact_match", "perplexity"),
    "json": ("json_exact_match", "slot_f1", "valid_json", "perplexity"),
    "text": ("exact_match", "chrf", "perplexity"),
}


def guess_task(answers: Sequence[str]) -> Task:
    """What wanted answers look like: JSON objects, labels of which there are few, or any text."""
    if answers and all(json_answers.is_json_object(answer) for answer in answers):
        return "json"
    return "classification" if is_classification(answers) else "text"


def choose_metrics(task: Task, asked: Sequence[str | RowFunction | Metric] = (), *, ignore_case: bool = False) -> list[Metric]:
    """The metrics asked for, or those for the task; the first one decides in verdicts.

    Args:
        task: What the wanted answers are.
        asked: Names, functions from a row and an answer to a number, or metrics.
        ignore_case: Take upper and lower case as the same.

    Raises:
        EvaluationError: There is no metric of that name, or two of one name.
    """
    chosen = [_metric(one, ignore_case=ignore_case) for one in (asked or _BY_TASK[task])]
    names = [metric.name for metric in chosen]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        msg = f"metrics: {twice} is asked for twice."
        raise EvaluationError(msg)
    return chosen


def _metric(asked: str | RowFunction | Metric, *, ignore_case: bool) -> Metric:
    if isinstance(asked, Metric):
        return asked
    if not isinstance(asked, str):
        return function_metric(asked)
    known = METRICS.get(asked)
    if known is None:
        msg = f"metrics: there is none named {asked!r}. There are: {', '.join(METRICS)}; or give a Python function."
        raise EvaluationError(msg)
    if not ignore_case or asked in _WITHOUT_CASE:
        return known
    measure: Callable[..., Measured] = known.measure
    return replace(known, measure=partial(measure, ignore_case=True))


__all__ = ["METRICS", "Task", "choose_metrics", "guess_task"]
