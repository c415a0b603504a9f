"""Metrics are scikit-learn's and sacrebleu's own numbers, or counted by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.evaluation.metrics import METRICS, Judged, Measured, choose_metrics, guess_task, load_function
from langchain_softprompt.evaluation.statistics import interval_of
from langchain_softprompt.likelihood import CompletionScore


def _rows(pairs: Sequence[tuple[str, str]]) -> list[Judged]:
    return [Judged({"text": "t", "answer": wanted}, wanted, answer) for wanted, answer in pairs]


def _measure(name: str, pairs: Sequence[tuple[str, str]], *, ignore_case: bool = False) -> Measured:
    return choose_metrics("text", [name], ignore_case=ignore_case)[0].measure(_rows(pairs))


_LABELS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([*"abcde", "nonsense", ""])), min_size=1, max_size=40)


@given(pairs=_LABELS)
def test_accuracy_and_macro_f1_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    wanted, given_ = [one for one, _ in pairs], [other for _, other in pairs]
    assert _measure("accuracy", pairs).score == pytest.approx(sklearn_metrics.accuracy_score(wanted, given_))
    expected = sklearn_metrics.f1_score(wanted, given_, labels=sorted(set(wanted)), average="macro", zero_division=0)
    assert _measure("macro_f1", pairs).score == pytest.approx(expected)


_TEXT = st.text(alphabet="abc dé.", max_size=20)


@given(pairs=st.lists(st.tuples(_TEXT.filter(str.strip), _TEXT), min_size=1, max_size=12))
def test_chrf_is_sacrebleus_for_all_rows_together_and_for_each(pairs: list[tuple[str, str]]) -> None:
    measured = _measure("chrf", pairs)
    expected = sacrebleu.corpus_chrf([answer for _, answer in pairs], [[wanted for wanted, _ in pairs]]).score / 100
    assert measured.score == pytest.approx(expected)
    for value, (wanted, answer) in zip(measured.values, pairs, strict=True):
        assert value == pytest.approx(sacrebleu.sentence_chrf(answer, [wanted]).score / 100)


@given(pairs=_LABELS, drawn=st.lists(st.integers(0, 39), min_size=1, max_size=40))
@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "exact_match", "chrf"])
def test_the_score_of_any_rows_drawn_is_the_sum_of_their_parts(name: str, pairs: list[tuple[str, str]], drawn: list[int]) -> None:
    """What the bootstrap stands on: a resample scored afresh is the resample's parts added up."""
    places = [number % len(pairs) for number in drawn]
    measured = _measure(name, pairs)
    added = measured.combine(measured.parts[places].sum(axis=0, keepdims=True))[0]
    assert added == pytest.approx(_measure(name, [pairs[place] for place in places]).score)


def test_exact_match_forgives_outer_white_space_and_case_only_when_asked() -> None:
    pairs = [("Paris", " Paris\n"), ("Paris", "paris"), ("Paris", "Paris."), ("a b", "a  b")]
    assert _measure("exact_match", pairs).values.tolist() == [1, 0, 0, 0]
    assert _measure("exact_match", pairs, ignore_case=True).values.tolist() == [1, 1, 0, 0]


def test_valid_json_wants_an_object_where_one_is_wanted() -> None:
    pairs = [
        ('{"a": 1}', '{"b": [1, {"c": null}]}'),
        ('{"a": 1}', "[1]"),
        ('{"a": 1}', '{"a": 1'),
        ("[1]", "3"),
        ('{"a": 1}', '{"a": NaN}'),
    ]
    assert _measure("valid_json", pairs).values.tolist() == [1, 0, 0, 1, 0]


def test_json_exact_match_looks_at_values_not_at_how_they_are_written() -> None:
    pairs = [
        ('{"a": 1, "b": "x"}', '{ "b":"x",\n"a":1.0}'),
        ('{"a": 1}', '{"a": true}'),
        ('{"a": 1}', '{"a": 1, "b": 2}'),
        ('{"a": ["x", "y"]}', '{"a": ["y", "x"]}'),
        ('{"a": "X"}', '{"a": "x"}'),
        ('{"a": 1}', "no JSON"),
    ]
    assert _measure("json_exact_match", pairs).values.tolist() == [1, 0, 0, 0, 0, 0]
    assert _measure("json_exact_match", pairs, ignore_case=True).values.tolist() == [1, 0, 0, 0, 1, 0]


def _call(intent: str, **slots: object) -> str:
    return json.dumps({"intent": intent, "slots": slots})


def test_slot_f1_counts_pairs_of_name_and_value_over_all_rows() -> None:
    """By hand: 3 pairs right, 2 too many, 2 missed, so 2 * 3 / (2 * 3 + 2 + 2)."""
    pairs = [
        (_call("Book", city="Rome", size="five"), _call("Book", city="Rome", size="six")),  # 1 right, 1 too many, 1 missed
        (_call("Play", artist=["A", "B"]), _call("Play", artist=["B", "C"])),  # 1 right, 1 too many, 1 missed
        (_call("Rain", city="Oslo"), _call("Snow", city="Oslo")),  # 1 right: the intent is no slot
        (_call("Stop"), _call("Stop")),  # nothing to find, nothing found
    ]
    measured = _measure("slot_f1", pairs)
    assert measured.score == pytest.approx(6 / 10)
    assert measured.values[:3].tolist() == [0.5, 0.5, 1.0]
    assert math.isnan(measured.values[3])


def test_slot_f1_of_any_other_object_counts_its_innermost_values_by_their_path() -> None:
    pairs = [('{"a": {"b": 1, "c": [2, {"d": 3}]}, "e": null}', '{"a": {"b": 1, "c": [2]}, "e": 0}')]
    assert _measure("slot_f1", pairs).parts.tolist() == [[2, 1, 2]]  # a.b and a.c right, e: 0 too many, a.c.d and e: null missed


def test_an_answer_that_is_no_json_misses_all_slots() -> None:
    assert _measure("slot_f1", [(_call("Book", city="Rome"), "Rome")]).parts.tolist() == [[0, 0, 1]]


def test_deeply_nested_answers_are_no_json_or_counted_but_never_crash() -> None:
    deep = '{"a":' * 5000 + "1" + "}" * 5000
    for name in ("slot_f1", "valid_json", "json_exact_match"):
        assert len(_measure(name, [('{"a": 1}', deep)]).values) == 1


def test_perplexity_is_the_exponential_of_the_mean_loss_over_all_tokens_and_leaves_unread_rows_out() -> None:
    rows = [
        Judged({}, "w", "a", likelihood=CompletionScore((-1.0, -2.0, -3.0), (True, False, True))),
        Judged({}, "w", "a", likelihood=CompletionScore((-4.0,), (True,))),
        Judged({}, "w", "", failed=True),
    ]
    measured = METRICS["perplexity"].measure(rows)
    assert measured.score == pytest.approx(math.exp(10 / 4))
    assert measured.values[:2].tolist() == pytest.approx([math.exp(2), math.exp(4)])
    assert measured.known is not None
    assert measured.known.tolist() == [True, True, False]


def word_count(row: dict[str, str], answer: str) -> float:
    """How many words the answer has."""
    assert row["answer"]
    return len(answer.split())


def test_a_function_is_a_metric_and_a_row_that_failed_counts_nothing() -> None:
    metric = load_function(f"{__name__}:word_count")
    rows = [*_rows([("w", "one two"), ("w", "one")]), Judged({}, "w", "", failed=True)]
    assert metric.measure(rows).values.tolist() == [2, 1, 0]
    assert metric.measure(rows).score == pytest.approx(1.0)
    assert (metric.name, metric.meaning, metric.scale) == ("word_count", "How many words the answer has.", "number")


def _numpy_truth(row: object, answer: str) -> object:
    return np.bool_(answer == "yes")


def test_a_function_may_say_true_or_false_in_numpys_words() -> None:
    assert choose_metrics("text", [_numpy_truth])[0].measure(_rows([("w", "yes"), ("w", "no")])).values.tolist() == [1, 0]  # type: ignore[list-item]


def _says_so(row: object, answer: str) -> bool:
    return answer == "yes"


def test_a_function_of_true_and_false_has_the_exact_interval_of_a_right_or_wrong_metric() -> None:
    """Clopper and Pearson's for 3 of 3, in closed form: from 0.025 ** (1 / 3) to 1."""
    rows = _rows([("w", "yes")] * 3)
    for function in (_says_so, _numpy_truth):
        interval = interval_of(choose_metrics("text", [function])[0].measure(rows))  # type: ignore[list-item]
        assert (interval.low, interval.high) == pytest.approx((0.025 ** (1 / 3), 1))
    assert choose_metrics("text", [_says_so])[0].scale == "share"
    assert not load_function(f"{__name__}:word_count").measure(rows).binary, "the number 1 is a number"


def _text(row: object, answer: str) -> str:
    return "good"


def _broken(row: object, answer: str) -> float:
    raise KeyError(answer)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("no_colon", "expected module:function"),
        ("no.such.module:f", "can't be imported: ModuleNotFoundError"),
        ("math:nothing", "can't be imported: AttributeError"),
        ("math:pi", "is no function but float"),
    ],
)
def test_a_function_that_is_not_there_is_named(place: str, sentence: str) -> None:
    with pytest.raises(EvaluationError, match=sentence):
        load_function(place)


def test_a_function_that_raises_or_returns_no_number_is_told_with_its_row() -> None:
    with pytest.raises(EvaluationError, match=r"_text: row 1: expected a finite number .*'good'"):
        choose_metrics("text", [_text])[0].measure(_rows([("w", "a")]))  # type: ignore[list-item]
    with pytest.raises(EvaluationError, match=r"_broken: row 1 raised KeyError"):
        choose_metrics("text", [_broken])[0].measure(_rows([("w", "a")]))


@pytest.mark.parametrize(
    ("answers", "task"),
    [
        (["yes", "no"] * 5, "classification"),
        ([_call("A"), "{}"], "json"),
        ([_call("A"), "text"], "text"),
        (["one", "two", "three"], "text"),
    ],
)
def test_the_task_is_read_off_the_wanted_answers(answers: list[str], task: str) -> None:
    assert guess_task(answers) == task


def test_each_task_has_its_metrics_and_a_name_that_is_none_is_told_with_those_there_are() -> None:
    assert [metric.name for metric in choose_metrics("classification")] == ["accuracy", "macro_f1", "exact_match", "perplexity"]
    assert [metric.name for metric in choose_metrics("json")] == ["json_exact_match", "slot_f1", "valid_json", "perplexity"]
    assert [metric.name for metric in choose_metrics("text")] == ["exact_match", "chrf", "perplexity"]
    with pytest.raises(EvaluationError, match=r"none named 'bleu'. There are: accuracy, macro_f1"):
        choose_metrics("text", ["bleu"])
    with pytest.raises(EvaluationError, match="chrf is asked for twice"):
        choose_metrics("text", ["chrf", "chrf"])
