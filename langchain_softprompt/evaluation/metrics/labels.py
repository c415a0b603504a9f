"""Answers that are labels: the share of right ones, and F1 averaged over the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from langchain_softprompt.evaluation.metrics.metric import Judged, Measured, mean_of
from langchain_softprompt.evaluation.metrics.texts import same

if TYPE_CHECKING:
    from langchain_softprompt.evaluation.metrics.metric import Numbers


def accuracy(rows: Sequence[Judged], *, ignore_case: bool = False) -> Measured:
    """The share of rows whose answer is the wanted label."""
    return mean_of([float(same(row.wanted, row.answer, ignore_case=ignore_case)) for row in rows], binary=True)


def macro_f1(rows: Sequence[Judged], *, ignore_case: bool = False) -> Measured:
    """F1 of each label that is wanted somewhere, averaged over these labels.

    This is scikit-learn's ``f1_score(average="macro", labels=<the wanted ones>)``: an answer that is no such label counts
    as missed for the row's own label, and makes no label of its own.
    """
    wanted = [_label(row.wanted, ignore_case=ignore_case) for row in rows]
    given = [_label(row.answer, ignore_case=ignore_case) for row in rows]
    place = {label: number for number, label in enumerate(sorted(set(wanted)))}
    right, too_many, missed = (np.zeros((len(rows), len(place))) for _ in range(3))
    for number, (want, have) in enumerate(zip(wanted, given, strict=True)):
        if want == have:
            right[number, place[want]] = 1
            continue
        missed[number, place[want]] = 1
        if have in place:
            too_many[number, place[have]] = 1
    values = right.sum(axis=1)
    return Measured(values, np.concatenate([right, too_many, missed], axis=1), _mean_f1)


def _mean_f1(sums: Numbers) -> Numbers:
    right, too_many, missed = np.split(sums, 3, axis=1)
    wanted = right + missed > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(wanted, 2 * right / (2 * right + too_many + missed), 0.0)
        made: Numbers = f1.sum(axis=1) / wanted.sum(axis=1)
    return made


def _label(text: str, *, ignore_case: bool) -> str:
    return text.strip().casefold() if ignore_case else text.strip()
