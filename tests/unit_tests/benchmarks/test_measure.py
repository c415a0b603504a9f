"""Interleaved rounds."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest

from benchmarks.measure import interleave, median_error, median_ratio


def test_rounds_run_there_and_back_again_and_the_warm_up_does_not_count() -> None:
    order: list[str] = []
    clock = itertools.count()

    def turn(name: str) -> int:
        order.append(name)
        return next(clock)

    seen = interleave({name: lambda name=name: turn(name) for name in "abc"}, rounds=2, warm_up=1)
    assert "".join(order) == "abc" + "abc" + "cba"
    assert seen == {"a": [3, 8], "b": [4, 7], "c": [5, 6]}


def test_a_ratio_is_taken_within_rounds_so_that_a_machine_that_slows_down_does_not_change_it() -> None:
    ours, theirs = [30.0, 3.0, 300.0], [10.0, 1.0, 100.0]
    assert median_ratio(ours, theirs) == 3.0


def test_rounds_that_do_not_match_are_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        median_ratio([1.0, 2.0], [1.0])


def test_the_error_of_a_median_is_that_of_medians_drawn_again_and_again() -> None:
    """Against a simulation: 400 medians of 100 normal values each."""
    draw = random.Random(1)
    samples = [[draw.gauss(10, 2) for _ in range(100)] for _ in range(400)]
    told = statistics.median(median_error(sample) for sample in samples)
    assert told == pytest.approx(statistics.stdev(statistics.median(sample) for sample in samples), rel=0.15)


def test_a_few_values_tell_no_error() -> None:
    assert median_error([1.0, 1.0, 1.0]) == math.inf
