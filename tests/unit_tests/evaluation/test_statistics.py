"""Intervals and tests against scipy's own, and against what is known of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from langchain_softprompt.evaluation.metrics import Judged, Measured, choose_metrics
from langchain_softprompt.evaluation.metrics.metric import mean_of
from langchain_softprompt.evaluation.statistics import Interval, difference_of, gap_of, interval_of


def _binary(text: str) -> Measured:
    return mean_of([float(mark) for mark in text], binary=True)


def _normal(rows: int, mean: float, seed: int) -> Measured:
    return mean_of(np.random.default_rng(seed).normal(mean, 1, rows).tolist())


def _f1(pairs: list[tuple[str, str]]) -> Measured:
    return choose_metrics("text", ["macro_f1"])[0].measure([Judged({}, wanted, answer) for wanted, answer in pairs])


def test_the_interval_of_a_mean_is_scipys_percentile_bootstrap() -> None:
    """Both draw at random, so they agree to a few hundredths of the interval's width."""
    values = np.random.default_rng(3).exponential(1.0, 80)
    ours = interval_of(mean_of(values.tolist()), resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(4)).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_the_interval_of_macro_f1_is_what_scoring_each_resample_afresh_gives() -> None:
    draw = np.random.default_rng(0)
    pairs = [(wanted, wanted if draw.random() < 0.7 else "b") for wanted in "aaaabbbccd" * 4]
    again = np.random.default_rng(9)
    afresh = [_f1([pairs[place] for place in again.integers(0, len(pairs), len(pairs))]).score for _ in range(2000)]
    ours = interval_of(_f1(pairs), seed=9)
    low, high = np.percentile(afresh, [2.5, 97.5])
    assert (ours.low, ours.high) == pytest.approx((low, high))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = [0.0 in interval_of(_normal(100, 0.0, seed), seed=seed, resamples=500) for seed in range(200)]
    assert 0.88 <= sum(covered) / len(covered) <= 0.99


@pytest.mark.parametrize("text", ["1" * 20, "0" * 7, "1", "11101"])
def test_right_or_wrong_rows_get_the_exact_interval_not_certainty(text: str) -> None:
    interval = interval_of(_binary(text))
    exact = stats.binomtest(text.count("1"), len(text)).proportion_ci(0.95, method="exact")
    assert (interval.low, interval.high) == pytest.approx((exact.low, exact.high))
    assert interval.high > interval.low


def test_shares_that_are_no_counts_of_rows_are_not_certain_either() -> None:
    """Slots never found in 12 rows, two of them without slots: the interval of none of 10."""
    rows = [Judged({}, '{"a": 1}', "")] * 10 + [Judged({}, "{}", "")] * 2
    exact = stats.binomtest(0, 10).proportion_ci(0.95, method="exact")
    assert interval_of(choose_metrics("text", ["slot_f1"])[0].measure(rows), share=True).high == pytest.approx(exact.high)
    assert interval_of(mean_of([1.0] * 5)) == Interval(1, 1)  # of a number that may be anything nothing is known


def _mcnemar_by_hand(one: str, other: str) -> float:
    """Two-sided: all ways the differing rows could fall that are no likelier than the one that came."""
    better = sum(pair == ("1", "0") for pair in zip(one, other, strict=True))
    differing = better + sum(pair == ("0", "1") for pair in zip(one, other, strict=True))
    chances = [math.comb(differing, count) / 2**differing for count in range(differing + 1)]
    return sum(chance for chance in chances if chance <= chances[better] * (1 + 1e-9))


@given(marks=st.lists(st.tuples(st.sampled_from("01"), st.sampled_from("01")), min_size=1, max_size=25))
def test_right_or_wrong_is_tested_by_mcnemars_exact_test(marks: list[tuple[str, str]]) -> None:
    one, other = "".join(mark for mark, _ in marks), "".join(mark for _, mark in marks)
    difference = difference_of(_binary(one), _binary(other), resamples=100)
    assert difference.test == "McNemar"
    assert difference.p_value == pytest.approx(_mcnemar_by_hand(one, other))
    assert difference.value == pytest.approx((one.count("1") - other.count("1")) / len(one))


_MARKS = st.text("01", min_size=1, max_size=40)


@given(rows=st.lists(st.tuples(st.sampled_from("01"), st.sampled_from("01")), min_size=1, max_size=40))
def test_the_interval_of_a_right_or_wrong_difference_is_never_certain_and_says_what_the_p_value_says(rows: list[tuple[str, str]]) -> None:
    one, other = (_binary("".join(marks)) for marks in zip(*rows, strict=True))
    difference = difference_of(one, other, share=True)
    low, high = difference.interval.low, difference.interval.high
    assert -1 <= low <= difference.value <= high <= 1
    assert high - low > 1 / len(rows)
    assert (0 in difference.interval) is (difference.p_value >= 0.05)


@given(one=_MARKS, other=_MARKS)
def test_the_interval_of_a_right_or_wrong_gap_is_never_certain(one: str, other: str) -> None:
    gap, interval = gap_of(_binary(one), _binary(other), share=True)
    assert -1 <= interval.low <= gap <= interval.high <= 1
    assert interval.high - interval.low > 1 / max(len(one), len(other))


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=25))
def test_other_shares_are_never_certain_either_and_their_intervals_say_what_the_p_values_say(rows: list[tuple[str, str, str]]) -> None:
    one, other = (_f1([(wanted, answers[arm]) for wanted, *answers in rows]) for arm in (0, 1))
    difference = difference_of(one, other, share=True, resamples=200)
    assert -1 <= difference.interval.low < difference.interval.high <= 1
    if difference.p_value >= 0.05:
        assert 0 in difference.interval
    gap, interval = gap_of(one, other, share=True, resamples=200)
    assert gap == pytest.approx(difference.value)
    assert -1 <= interval.low < interval.high <= 1


def test_one_row_tells_next_to_nothing() -> None:
    difference = difference_of(_binary("1"), _binary("0"))
    assert (difference.p_value, difference.interval) == (1, Interval(pytest.approx(-0.95), 1))
    assert difference_of(_f1([("a", "a")]), _f1([("a", "b")]), share=True).interval == Interval(pytest.approx(-0.95), 1)
    assert gap_of(_binary("1"), _binary("1"))[1] == Interval(pytest.approx(-0.7935, abs=1e-4), pytest.approx(0.7935, abs=1e-4))


def test_other_metrics_are_tested_by_swapping_rows_as_trying_all_swaps_does() -> None:
    one, other = _normal(10, 0.8, 1), _normal(10, 0.0, 2)
    apart = one.values - other.values
    every = [abs(np.mean(apart * signs)) for signs in itertools.product([1, -1], repeat=10)]
    exact = float(np.mean(np.asarray(every) >= abs(apart.mean()) - 1e-12))
    difference = difference_of(one, other, resamples=20_000)
    assert difference.test == "randomisation"
    assert difference.p_value == pytest.approx(exact, abs=0.01)
    scipys = stats.permutation_test((one.values, other.values), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=10_000)
    assert exact == pytest.approx(scipys.pvalue, abs=0.01)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_an_arm_beside_itself_differs_by_nothing_for_sure(seed: int) -> None:
    one = _normal(12, 0.0, seed)
    difference = difference_of(one, one, seed=seed, resamples=200)
    assert (difference.value, difference.interval.low, difference.interval.high) == (0, 0, 0)
    assert difference.p_value == 1


def test_pairing_makes_a_small_steady_difference_visible() -> None:
    base = _normal(60, 0.0, 5)
    better = mean_of((base.values + 0.1).tolist())
    paired = difference_of(better, base)
    assert paired.interval.low == pytest.approx(0.1)
    assert paired.p_value < 0.001
    _, unpaired = gap_of(better, base)
    assert unpaired.low < 0 < unpaired.high


def test_a_row_that_one_arm_has_no_number_for_is_left_out_of_both() -> None:
    from langchain_softprompt.likelihood import CompletionScore

    measure = choose_metrics("text", ["perplexity"])[0].measure

    def rows(*losses: float | None) -> Measured:
        return measure([Judged({}, "w", "a", likelihood=None if loss is None else CompletionScore((-loss,), (True,))) for loss in losses])

    difference = difference_of(rows(1.0, 2.0, None), rows(2.0, None, 9.0))
    assert difference.value == pytest.approx(math.e - math.e**2)


def test_the_same_seed_gives_the_same_numbers_and_rows_without_any_give_none() -> None:
    one, other = _normal(30, 0.3, 1), _normal(30, 0.0, 2)
    assert difference_of(one, other, seed=4) == difference_of(one, other, seed=4)
    assert interval_of(one, seed=4) != interval_of(one, seed=5)
    empty = choose_metrics("text", ["slot_f1"])[0].measure([Judged({}, "{}", "{}")] * 3)
    assert math.isnan(empty.score)
    assert math.isnan(interval_of(empty).low)
    assert math.isnan(difference_of(empty, empty).p_value)


def test_many_rows_are_resampled_in_parts_that_fit_the_memory() -> None:
    """The same interval whether resamples are drawn together or few at a time."""
    from langchain_softprompt.evaluation import statistics

    one = _normal(500, 0.0, 1)
    together = interval_of(one, resamples=300)
    whole = statistics._CHUNK_NUMBERS
    statistics._CHUNK_NUMBERS = 1000
    try:
        apart = interval_of(one, resamples=300)
    finally:
        statistics._CHUNK_NUMBERS = whole
    assert (apart.low, apart.high) == pytest.approx((together.low, together.high))
