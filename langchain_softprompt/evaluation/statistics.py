"""How sure a score is, and whether one arm is better than another: exact where rows are right or wrong, else by resampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from langchain_softprompt.evaluation.extras import need
from langchain_softprompt.evaluation.metrics.metric import Measured
from langchain_softprompt.evaluation.shares import CONFIDENCE, Ends, alike_ends, exact_ends, paired_ends, score_ends, unpaired_ends

if TYPE_CHECKING:
    from langchain_softprompt.evaluation.metrics.metric import Numbers

RESAMPLES = 2000
_CHUNK_NUMBERS = 1 << 22
_ALIKE = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval.

    Attributes:
        low: Its lower end.
        high: Its upper end.
    """

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two arms are apart on the same rows.

    Attributes:
        value: The score of the one less that of the other.
        interval: Its confidence interval; it holds 0 wherever the p-value is 0.05 or more.
        p_value: How likely so large a difference, either way, is between arms that are alike; NaN where nothing can be said.
        test: The test that gave it: ``"McNemar"`` or ``"randomisation"``.
    """

    value: float
    interval: Interval
    p_value: float
    test: str


def interval_of(measured: Measured, *, share: bool = False, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The interval of a score.

    It is the exact one (Clopper and Pearson 1934) where rows are right or wrong, else that of the percentile bootstrap (Efron
    1979). Where all resamples of a share are alike the bootstrap would claim certainty; what so many rows may have missed is
    allowed for instead.

    Args:
        measured: What a metric made of some rows.
        share: Whether the metric goes from 0 to 1.
        seed: Decides which rows are drawn.
        resamples: How often.
    """
    if measured.binary:
        return Interval(*exact_ends(*_count(measured)))
    interval = _percentiles(_resampled([measured.parts], seed, resamples, lambda sums: measured.combine(sums[0])))
    if share and _certain(interval):
        return Interval(*alike_ends(measured.score, int((~np.isnan(measured.values)).sum())))
    return interval


def difference_of(one: Measured, other: Measured, *, share: bool = False, seed: int = 0, resamples: int = RESAMPLES) -> Difference:
    """Compare two arms that answered the same rows.

    Where rows are right or wrong, the p-value is that of McNemar's exact test (1947) and the interval the one that goes with it,
    see `paired_ends`. For other metrics it is that of a randomisation test that swaps rows between the arms (Noreen 1989; Yeh
    2000, as sacrebleu has it), and the interval that of a bootstrap that draws both arms' rows together, widened to 0 where the
    test finds no difference.

    Args:
        one: What a metric made of the one arm's rows.
        other: What it made of the other's, row by row the same.
        share: Whether the metric goes from 0 to 1.
        seed: Decides which rows are drawn and swapped.
        resamples: How often.
    """
    if one.binary and other.binary:
        better, worse = int((one.values > other.values).sum()), int((one.values < other.values).sum())
        interval = Interval(*paired_ends(better, worse, len(one.values)))
        return Difference(one.score - other.score, interval, _mcnemar(better, worse), "McNemar")
    # A row that one arm has no number for is left out of both.
    mine, theirs = one.parts, other.parts
    for known in (one.known, other.known):
        if known is not None:
            mine, theirs = mine * known[:, None], theirs * known[:, None]

    def apart(sums: Sequence[Numbers]) -> Numbers:
        return one.combine(sums[0]) - other.combine(sums[1])

    value = float(apart([mine.sum(axis=0, keepdims=True), theirs.sum(axis=0, keepdims=True)])[0])
    interval = _percentiles(_resampled([mine, theirs], seed, resamples, apart))
    if share and _certain(interval):
        told = int((~np.isnan(one.values) | ~np.isnan(other.values)).sum())
        interval = Interval(*alike_ends(value, told, lowest=-1.0))
    p_value = _swapped(one, other, mine, theirs, value, seed, resamples)
    if p_value >= 1 - CONFIDENCE:
        interval = Interval(min(interval.low, 0.0), max(interval.high, 0.0))
    return Difference(value, interval, p_value, "randomisation")


def gap_of(one: Measured, other: Measured, *, share: bool = False, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, Interval]:
    """How far a score on some rows is above that on other rows, with its interval; the rows are not paired.

    For shares it is made of the intervals of the two scores, score intervals where rows are right or wrong, see
    `unpaired_ends`; for other numbers it is that of the bootstrap.

    Args:
        one: What a metric made of the one rows.
        other: What it made of the others.
        share: Whether the metric goes from 0 to 1.
        seed: Decides which rows are drawn.
        resamples: How often.
    """
    if share or (one.binary and other.binary):
        ends = [_ends_of(each, seed + place, resamples) for place, each in enumerate((one, other))]
        return one.score - other.score, Interval(*unpaired_ends(one.score, ends[0], other.score, ends[1]))
    first = _resampled([one.parts], seed, resamples, lambda sums: one.combine(sums[0]))
    second = _resampled([other.parts], seed + 1, resamples, lambda sums: other.combine(sums[0]))
    return one.score - other.score, _percentiles(first - second)


def _ends_of(measured: Measured, seed: int, resamples: int) -> Ends:
    if measured.binary:
        return score_ends(*_count(measured))
    interval = interval_of(measured, share=True, seed=seed, resamples=resamples)
    return interval.low, interval.high


def _count(measured: Measured) -> tuple[int, int]:
    """How many rows are right, and of how many."""
    return int(measured.values.sum()), len(measured.values)


def _certain(interval: Interval) -> bool:
    return interval.high - interval.low < _ALIKE


def _mcnemar(better: int, worse: int) -> float:
    """Only rows that the arms differ on tell anything; between arms that are alike each falls either way, as a coin does."""
    if better + worse == 0:
        return 1.0
    return float(need("scipy.stats").binomtest(better, better + worse, 0.5).pvalue)


def _swapped(one: Measured, other: Measured, mine: Numbers, theirs: Numbers, value: float, seed: int, resamples: int) -> float:
    if math.isnan(value):
        return math.nan
    draw = np.random.default_rng(seed)
    as_large = 0
    for count in _chunks(len(mine), resamples):
        swap = draw.integers(0, 2, size=(count, len(mine))).astype(np.float64)
        moved = swap @ (theirs - mine)
        apart = one.combine(mine.sum(axis=0) + moved) - other.combine(theirs.sum(axis=0) - moved)
        as_large += int((np.abs(apart) >= abs(value) - 1e-12).sum())
    return (as_large + 1) / (resamples + 1)


def _resampled(parts: Sequence[Numbers], seed: int, resamples: int, combine: Callable[[list[Numbers]], Numbers]) -> Numbers:
    draw = np.random.default_rng(seed)
    rows = len(parts[0])
    if not rows:
        return np.full(resamples, np.nan)
    made = []
    for count in _chunks(rows, resamples):
        drawn = draw.integers(0, rows, size=(count, rows)) + np.arange(count)[:, None] * rows
        times = np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)
        made.append(combine([times @ each for each in parts]))
    return np.concatenate(made)


def _chunks(rows: int, resamples: int) -> Iterator[int]:
    """How many resamples to make at a time, so that they fit the memory."""
    size = max(1, _CHUNK_NUMBERS // max(1, rows))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _percentiles(scores: Numbers) -> Interval:
    known = scores[np.isfinite(scores)]
    if not len(known):
        return Interval(math.nan, math.nan)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(known, [tail, 100 - tail])
    return Interval(float(low), float(high))


__all__ = ["CONFIDENCE", "RESAMPLES", "Difference", "Interval", "difference_of", "gap_of", "interval_of"]
