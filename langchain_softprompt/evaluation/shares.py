"""Intervals of shares from few rows, where resamples of the rows would be too alike to tell how little is known."""

from __future__ import annotations

import math

import numpy as np

from langchain_softprompt.evaluation.extras import need

CONFIDENCE = 0.95
Ends = tuple[float, float]

_NODES = 4096


def exact_ends(right: int, rows: int) -> Ends:
    """The exact interval of a share of rows (Clopper and Pearson 1934)."""
    return _binomial(right, rows, "exact")


def score_ends(right: int, rows: int) -> Ends:
    """The score interval of a share of rows (Wilson 1927)."""
    return _binomial(right, rows, "wilson")


def unpaired_ends(one: float, one_ends: Ends, other: float, other_ends: Ends) -> Ends:
    """The interval of the difference of two scores on different rows, from the interval of each.

    From score intervals of shares it is Newcombe's hybrid score interval (Newcombe 1998, Statistics in Medicine 17:873-890,
    method 10); with other intervals it is known as MOVER (Zou and Donner 2008, Statistics in Medicine 27:1693-1702).

    Args:
        one: The one score.
        one_ends: Its interval.
        other: The other score.
        other_ends: Its interval.
    """
    apart = one - other
    low = apart - math.hypot(one - one_ends[0], other_ends[1] - other)
    high = apart + math.hypot(one_ends[1] - one, other - other_ends[0])
    return max(-1.0, low), min(1.0, high)


def paired_ends(better: int, worse: int, rows: int) -> Ends:
    """The interval of the difference of two shares on the same rows that goes with McNemar's exact test.

    It leaves out 0 just where the test's p-value is below 0.05 (Fay and Lumbard 2021, Statistics in Medicine 40:1147-1159).
    The difference is the share of rows that the two differ on, times how far these lean one way; both are uncertain, each
    by its exact binomial interval, whose beta distributions are combined.

    Args:
        better: How many rows only the one has right.
        worse: How many rows only the other has right.
        rows: How many rows there are.
    """
    return _lowest(better, worse, rows), -_lowest(worse, better, rows)


def alike_ends(value: float, rows: int, *, lowest: float = 0.0) -> Ends:
    """The interval of a mean of numbers from `lowest` to 1 where all rows gave the same.

    Rows of another kind may make up all that so many rows would have shown too rarely, and their numbers may be any. For rows
    that are all right it is the exact binomial interval, about 3 / `rows` wide (the rule of three; Hanley and Lippman-Hand 1983).

    Args:
        value: What all rows gave.
        rows: How many they are.
        lowest: The least number there can be.
    """
    unseen = 1 - _tail() ** (1 / rows)
    return value - unseen * (value - lowest), value + unseen * (1 - value)


def _tail() -> float:
    return (1 - CONFIDENCE) / 2


def _binomial(right: int, rows: int, method: str) -> Ends:
    if not rows:
        return math.nan, math.nan
    found = need("scipy.stats").binomtest(right, rows).proportion_ci(CONFIDENCE, method=method)
    return float(found.low), float(found.high)


def _lowest(better: int, worse: int, rows: int) -> float:
    if not rows:
        return math.nan
    special = need("scipy.special")
    differing = better + worse
    if not better:
        return -1.0 if differing == rows else -float(special.betaincinv(differing + 1, rows - differing, 1 - _tail()))
    # Quantiles of the share of rows that differ: most goes with a difference below 0, least with one above.
    nodes = (np.arange(_NODES) + 0.5) / _NODES
    most = special.betaincinv(differing + 1, rows - differing, nodes) if differing < rows else np.ones(_NODES)
    least = special.betaincinv(differing, rows - differing + 1, nodes)

    def below(apart: float) -> float:
        """How likely the difference is no larger than this, by the lower of the beta distributions, less what the tail may hold."""
        lean = (1 + apart / (most if apart < 0 else least)) / 2
        return float(special.betainc(better, worse + 1, np.clip(lean, 0, 1)).mean()) - _tail()

    ends = (-1.0, 0.0) if below(0.0) >= 0 else (0.0, 1.0)
    return float(need("scipy.optimize").brentq(below, *ends, xtol=1e-9))


__all__ = ["CONFIDENCE", "Ends", "alike_ends", "exact_ends", "paired_ends", "score_ends", "unpaired_ends"]
