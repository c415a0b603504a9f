"""Rows in parts: nothing lost, nothing twice, labels spread evenly, the same each time."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from langchain_softprompt.data import digest_rows, folds, hold_out, is_classification
from langchain_softprompt.errors import InvalidSettingsError

_ROWS = st.lists(st.sampled_from("abc"), min_size=4, max_size=60).map(
    lambda labels: [{"text": str(number), "label": label} for number, label in enumerate(labels)]
)


def _labels(rows: list[dict[str, str]]) -> Counter[str]:
    return Counter(row["label"] for row in rows)


@given(rows=_ROWS, count=st.integers(2, 4), seed=st.integers(0, 99))
def test_each_row_is_in_one_fold(rows: list[dict[str, str]], count: int, seed: int) -> None:
    parts = folds(rows, count, target="label", seed=seed)
    assert sorted(number for fold in parts for number in fold) == list(range(len(rows)))
    assert all(fold and fold == sorted(fold) for fold in parts)


@given(rows=_ROWS, count=st.integers(2, 4), seed=st.integers(0, 99))
def test_folds_differ_by_one_row_at_most_and_so_does_each_label_in_them(rows: list[dict[str, str]], count: int, seed: int) -> None:
    parts = folds(rows, count, target="label", seed=seed)
    sizes = [len(fold) for fold in parts]
    assert max(sizes) - min(sizes) <= 1
    for label in _labels(rows):
        shares = [_labels([rows[number] for number in fold])[label] for fold in parts]
        assert max(shares) - min(shares) <= 1


def test_labels_are_spread_as_evenly_as_scikit_learn_spreads_them() -> None:
    rows = [{"text": str(number), "label": label} for number, label in enumerate("aaaaaaaaaabbbbbcc" * 3)]
    ours = sorted(tuple(sorted(_labels([rows[number] for number in fold]).items())) for fold in folds(rows, 3, target="label", seed=1))
    splitter = StratifiedKFold(3, shuffle=True, random_state=1)
    theirs = [_labels([rows[number] for number in judged]) for _, judged in splitter.split(rows, [row["label"] for row in rows])]
    assert ours == sorted(tuple(sorted(counts.items())) for counts in theirs)


@given(rows=_ROWS, share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_held_out_rows_are_the_share_asked_for_and_each_label_gives_its_own(rows: list[dict[str, str]], share: float, seed: int) -> None:
    stay, held = hold_out(rows, share, target="label", seed=seed)
    assert sorted([*stay, *held], key=lambda row: int(row["text"])) == rows
    assert len(held) == min(max(1, math.ceil(share * len(rows) - 1e-9)), len(rows) - 1)
    for label, count in _labels(rows).items():
        assert abs(_labels(held)[label] - share * count) < 2


def test_the_order_of_rows_is_kept_and_a_seed_decides_which_are_held_out() -> None:
    rows = [{"text": str(number), "label": "ab"[number % 2]} for number in range(40)]
    stay, held = hold_out(rows, 0.25, target="label", seed=3)
    assert held == sorted(held, key=lambda row: int(row["text"]))
    assert stay == sorted(stay, key=lambda row: int(row["text"]))
    assert hold_out(rows, 0.25, target="label", seed=3) == (stay, held)
    assert hold_out(rows, 0.25, target="label", seed=4) != (stay, held)


def test_answers_of_which_each_is_another_are_held_out_as_well() -> None:
    rows = [{"text": str(number), "answer": f"A sentence of its own, number {number}."} for number in range(20)]
    stay, held = hold_out(rows, 0.2, target="answer", seed=0)
    assert (len(stay), len(held)) == (16, 4)


@pytest.mark.parametrize(
    ("answers", "labels"),
    [
        (["yes", "no"] * 3, True),
        (["yes"] * 6, False),  # there is nothing to choose
        (["yes", "no", "maybe"], False),  # each only once
        (["x" * 200, "y"] * 3, False),
        ([], False),
    ],
)
def test_labels_are_few_short_and_come_again(answers: list[str], labels: bool) -> None:
    assert is_classification(answers) is labels


@pytest.mark.parametrize(
    ("name", "field", "labels"), [("banking77", "label", True), ("snips", "output", False), ("disfl_qa", "output", False)]
)
def test_the_benchmark_data_is_told_apart(name: str, field: str, labels: bool) -> None:
    lines = Path(__file__).parents[3].joinpath("benchmarks", "data", name, "test.jsonl").read_text("utf-8").splitlines()
    assert is_classification([json.loads(line)[field] for line in lines]) is labels


@pytest.mark.parametrize(
    ("count", "sentence"), [(1, "from 2 to the 4 rows there are, found 1"), (5, "from 2 to the 4 rows there are, found 5")]
)
def test_an_impossible_number_of_folds_is_refused(count: int, sentence: str) -> None:
    with pytest.raises(InvalidSettingsError, match=sentence):
        folds([{"text": "a"}] * 4, count, target="text")


@pytest.mark.parametrize(
    ("rows", "share", "sentence"), [(4, 0.0, "between 0 and 1"), (4, 1.0, "between 0 and 1"), (1, 0.5, "at least 2 rows")]
)
def test_an_impossible_share_is_refused(rows: int, share: float, sentence: str) -> None:
    with pytest.raises(InvalidSettingsError, match=sentence):
        hold_out([{"text": "a"}] * rows, share, target="text")


def test_a_digest_knows_rows_and_their_order_but_not_the_order_of_fields() -> None:
    one, other = {"text": "a", "label": "ä"}, {"text": "b", "label": "c"}
    assert digest_rows([one, other]) == digest_rows([dict(reversed(one.items())), other])
    assert digest_rows([one, other]) != digest_rows([other, one])
    line = '{"label": "ä", "text": "a"}\n'
    assert digest_rows([one]) == hashlib.sha256(line.encode()).hexdigest()
