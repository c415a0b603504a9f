"""Interleaved rounds and their medians."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def interleave(work: Mapping[str, Callable[[], T]], rounds: int, warm_up: int = 1) -> dict[str, list[T]]:
    """Let everybody have a turn in each round, A B C and then C B A, so that a machine that slows down slows all alike.

    Args:
        work: What each one does; called once a round.
        rounds: Rounds that count.
        warm_up: Rounds before, that do not.
    """
    for _ in range(warm_up):
        for one in work.values():
            one()
    seen: dict[str, list[T]] = {name: [] for name in work}
    for number in range(rounds):
        for name in list(work) if number % 2 == 0 else list(reversed(work)):
            seen[name].append(work[name]())
    return seen


def median_ratio(upper: Sequence[float], lower: Sequence[float]) -> float:
    """The median over rounds of one figure over another: what both were measured in together cancels out."""
    return statistics.median(one / other for one, other in zip(upper, lower, strict=True))


def median_error(values: Sequence[float]) -> float:
    """How far a median of so many values may be off (its standard error), from the middle half, which outliers leave alone."""
    if len(values) < 4:
        return math.inf
    low, _, high = statistics.quantiles(values, n=4)
    return 1.2533 * (high - low) / 1.349 / math.sqrt(len(values))
