"""Metric: rows and answers become a value a row, and numbers that add up over rows to the score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Flags = NDArray[np.bool_]

    from langchain_softprompt.likelihood import CompletionScore

Scale = Literal["share", "number"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A row and what one arm made of it.

    Attributes:
        row: The row.
        wanted: The wanted answer.
        answer: The answer; empty where the row failed.
        failed: Whether the row could not be answered.
        likelihood: What the model thinks of the wanted answer; ``None`` where it was not asked.
    """

    row: Mapping[str, str]
    wanted: str
    answer: str
    failed: bool = False
    likelihood: CompletionScore | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Measured:
    """What a metric made of some rows.

    The score of any of these rows is `combine` of the sum of their `parts`: to draw rows anew (the bootstrap) or to swap
    them between two arms is to add parts up anew.

    Attributes:
        values: For each row its own value, NaN where it has none; ``[rows]``.
        parts: For each row its numbers that add up; ``[rows, parts]``.
        combine: From sums of parts, ``[samples, parts]``, to scores, ``[samples]``; NaN where there is nothing to score.
        binary: Whether each row's value is 0 or 1 and the score is their mean.
        known: Which rows could be measured at all, booleans ``[rows]``; ``None`` for all. The parts of others are 0.
    """

    values: Numbers
    parts: Numbers
    combine: Callable[[Numbers], Numbers]
    binary: bool = False
    known: Flags | None = None

    @property
    def score(self) -> float:
        """The score of all rows."""
        return float(self.combine(self.parts.sum(axis=0, keepdims=True))[0])


@dataclass(frozen=True, slots=True)
class Metric:
    """A way to score answers.

    Attributes:
        name: What it is called in options and reports.
        measure: Scores rows.
        meaning: What it says, in a sentence.
        judges: What it looks at: ``"label"``, ``"text"`` or ``"likelihood"``.
        scale: ``"share"`` from 0 to 1, or any ``"number"``.
        higher_is_better: Whether more is better.
    """

    name: str
    measure: Callable[[Sequence[Judged]], Measured]
    meaning: str
    judges: Literal["label", "text", "likelihood"] = "text"
    scale: Scale = "share"
    higher_is_better: bool = True


def mean_of(values: Sequence[float], *, binary: bool = False) -> Measured:
    """A score that is the mean of the rows' values."""
    rows = np.asarray(values, dtype=np.float64)
    return Measured(rows, np.stack([rows, np.ones_like(rows)], axis=1), ratio, binary)


def ratio(sums: Numbers) -> Numbers:
    """The first part by the second."""
    with np.errstate(divide="ignore", invalid="ignore"):
        made: Numbers = sums[:, 0] / sums[:, 1]
    return made


__all__ = ["Judged", "Measured", "Metric", "Scale", "mean_of", "ratio"]
