"""Intervals of shares: against published values, against random draws, and against how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from langchain_softprompt.evaluation.shares import alike_ends, exact_ends, paired_ends, score_ends, unpaired_ends


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_unpaired_shares_have_the_intervals_that_newcombe_published(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    """Newcombe 1998, table II, method 10."""
    ends = unpaired_ends(one[0] / one[1], score_ends(*one), other[0] / other[1], score_ends(*other))
    assert ends == pytest.approx((low, high), abs=5e-5)


def _drawn(better: int, worse: int, rows: int, count: int = 400_000) -> tuple[float, float]:
    """Fay and Lumbard's interval by drawing from the beta distributions, the worse of the two for the share that differs."""
    draw = np.random.default_rng(1)
    differing = better + worse

    def beta(first: int, second: int) -> np.ndarray:
        return draw.beta(first, second, count) if first and second else np.full(count, float(bool(first)))

    shares = (beta(differing, rows - differing + 1), beta(differing + 1, rows - differing))
    lean_low, lean_high = beta(better, worse + 1), beta(better + 1, worse)
    low = min(np.quantile(share * (2 * lean_low - 1), 0.025) for share in shares)
    high = max(np.quantile(share * (2 * lean_high - 1), 0.975) for share in shares)
    return float(low), float(high)


@pytest.mark.parametrize(
    "counts", [(1, 7, 21), (0, 0, 5), (1, 0, 1), (5, 0, 5), (6, 0, 200), (10, 10, 200), (9, 2, 161), (0, 3, 10), (7, 5, 12)]
)
def test_paired_shares_have_the_interval_that_random_draws_come_to(counts: tuple[int, int, int]) -> None:
    assert paired_ends(*counts) == pytest.approx(_drawn(*counts), abs=4e-3)


@pytest.mark.parametrize("rows", [1, 2, 5, 10])
def test_paired_intervals_miss_the_truth_on_either_side_no_more_often_than_they_may(rows: int) -> None:
    """All outcomes there are, by their likelihood, over a grid of truths."""
    outcomes = [(better, worse) for better in range(rows + 1) for worse in range(rows + 1 - better)]
    ends = np.asarray([paired_ends(better, worse, rows) for better, worse in outcomes])
    for differs in np.linspace(0, 1, 11):
        for lean in np.linspace(0, 1, 11):
            truth = differs * (2 * lean - 1)
            chances = [
                stats.binom.pmf(better + worse, rows, differs) * stats.binom.pmf(better, better + worse, lean) for better, worse in outcomes
            ]
            assert np.dot(chances, ends[:, 0] > truth + 1e-9) <= 0.025 + 1e-6
            assert np.dot(chances, ends[:, 1] < truth - 1e-9) <= 0.025 + 1e-6


def test_paired_intervals_turn_with_the_arms() -> None:
    low, high = paired_ends(3, 8, 40)
    assert paired_ends(8, 3, 40) == pytest.approx((-high, -low))


@pytest.mark.parametrize("rows", [1, 5, 300])
def test_rows_that_are_all_alike_leave_room_for_what_they_may_have_missed(rows: int) -> None:
    assert alike_ends(1.0, rows) == pytest.approx(exact_ends(rows, rows))
    assert alike_ends(0.0, rows) == pytest.approx(exact_ends(0, rows))
    assert alike_ends(0.0, rows, lowest=-1.0) == pytest.approx(paired_ends(0, 0, rows))
    low, high = alike_ends(0.5, rows)
    assert 0 < low < 0.5 < high < 1


def test_no_rows_tell_nothing() -> None:
    assert all(math.isnan(end) for ends in (exact_ends(0, 0), score_ends(0, 0), paired_ends(0, 0, 0)) for end in ends)
