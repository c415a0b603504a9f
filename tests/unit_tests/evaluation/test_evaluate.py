"""evaluate(): answers, likelihoods and scores are those that transformers and scikit-learn come to by other roads."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from langchain_softprompt.data import digest_rows
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import EvaluationError, InvalidSettingsError, ModelMismatchError, TrainingDataError
from langchain_softprompt.evaluation import (
    Evaluation,
    EvaluationOptions,
    answer_rows,
    evaluate,
    few_shot_arm,
    folded_arm,
    hard_prompt_arm,
    initialisation_arm,
    soft_prompt_arm,
)
from langchain_softprompt.evaluation.arms import Arm
from langchain_softprompt.evaluation.findings import NO_LABEL
from langchain_softprompt.evaluation.trial import Rows
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import EngineLimits
from langchain_softprompt.soft_prompt import Manifest, SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import PromptTuning
from langchain_softprompt.testing import tiny_model
from tests.tiny import frozen
from tests.unit_tests.evaluation.judging import (
    LABELS,
    PROMPT,
    ROWS,
    TRAIN,
    chosen_by_hand,
    loss_by_hand,
    model,
    read_by_hand,
    soft_prompt,
)

QUICK = EvaluationOptions(resamples=200)


@cache
def _model() -> FrozenModel:
    return model()


@cache
def _judged() -> Evaluation:
    """Two soft prompts, the hard prompt and two examples, on all rows."""
    arms = [
        soft_prompt_arm(soft_prompt(_model(), 1), name="one"),
        soft_prompt_arm(soft_prompt(_model(), 2), name="two"),
        hard_prompt_arm(PROMPT),
        few_shot_arm(PROMPT, TRAIN, 3, target="label"),
    ]
    return evaluate(_model(), arms, ROWS, target="label", train_rows=TRAIN, options=QUICK, source="made up")


def _by_hand(seed: int | None) -> list[str]:
    soft = soft_prompt(_model(), seed) if seed is not None else None
    return [chosen_by_hand(_model(), read_by_hand(_model(), row, instructed=soft is None), LABELS, soft) for row in ROWS]


@pytest.mark.parametrize(("arm", "seed"), [("one", 1), ("two", 2), ("hard prompt", None)])
def test_each_arms_answers_are_what_transformers_generates_for_each_row_alone(arm: str, seed: int | None) -> None:
    assert list(_judged().arm(arm).answers["choices"]) == _by_hand(seed)


@pytest.mark.parametrize(("arm", "seed"), [("one", 1), ("hard prompt", None)])
def test_label_scores_are_scikit_learns_on_these_answers(arm: str, seed: int | None) -> None:
    wanted, given = [row["label"] for row in ROWS], _by_hand(seed)
    scores = _judged().arm(arm).scores
    assert scores["accuracy"].value == pytest.approx(accuracy_score(wanted, given))
    assert scores["macro_f1"].value == pytest.approx(f1_score(wanted, given, labels=LABELS, average="macro", zero_division=0))


@pytest.mark.parametrize(("arm", "seed"), [("one", 1), ("hard prompt", None)])
def test_perplexity_is_that_of_the_wanted_answers_read_token_by_token(arm: str, seed: int | None) -> None:
    soft = soft_prompt(_model(), seed) if seed is not None else None
    losses = [loss_by_hand(_model(), read_by_hand(_model(), row, instructed=soft is None), row["label"], soft) for row in ROWS]
    expected = math.exp(sum(loss for loss, _ in losses) / sum(count for _, count in losses))
    assert _judged().arm(arm).scores["perplexity"].value == pytest.approx(expected, rel=1e-4)


def test_confusions_are_scikit_learns_and_answers_that_are_no_label_stand_apart() -> None:
    wanted = [row["label"] for row in ROWS]
    for confusion, seed in zip(_judged().confusions, (1, 2, None), strict=False):
        assert confusion.labels == (*LABELS, NO_LABEL)
        assert [list(row) for row in confusion.counts] == confusion_matrix(wanted, _by_hand(seed), labels=[*LABELS, NO_LABEL]).tolist()
    free = evaluate(
        _model(),
        [soft_prompt_arm(soft_prompt(_model(), 1), name="one")],
        ROWS,
        target="label",
        labels=LABELS,
        options=EvaluationOptions(answers="free", resamples=100, knowledge=False),
    )
    assert sum(row[-1] for row in free.confusions[0].counts) == len(ROWS), "a random model writes no label by itself"
    assert free.confusions[0].mistakes(1)[0][1:] == (NO_LABEL, 3)


def test_tokens_are_counted_as_they_are_read_and_saving_is_against_the_hard_prompt() -> None:
    instructed = [len(read_by_hand(_model(), row, instructed=True)) for row in ROWS]
    bare = [len(read_by_hand(_model(), row, instructed=False)) + 4 for row in ROWS]
    one, hard = _judged().arm("one"), _judged().arm("hard prompt")
    assert hard.read_tokens == pytest.approx(sum(instructed) / len(ROWS), abs=0.01)
    assert one.read_tokens == pytest.approx(sum(bare) / len(ROWS), abs=0.01)
    assert one.saved_tokens == pytest.approx(1 - sum(bare) / sum(instructed))
    assert (one.virtual_tokens, hard.virtual_tokens, hard.saved_tokens) == (4, 0, None)
    few = _judged().arm("hard prompt + 3 examples")
    assert few.saved_tokens is not None
    assert few.saved_tokens < 0


def test_each_soft_prompt_is_compared_with_each_arm_after_it_by_each_metric() -> None:
    pairs = {(one.arm, one.other) for one in _judged().comparisons}
    others = ["two", "hard prompt", "hard prompt + 3 examples"]
    assert pairs == {*(("one", other) for other in others), *(("two", other) for other in others[1:])}
    for one in _judged().comparisons:
        mine, theirs = (_judged().arm(name).scores[one.metric].value for name in (one.arm, one.other))
        assert one.difference == pytest.approx(mine - theirs)


def test_what_a_soft_prompt_started_as_is_compared_with_it_and_its_folds_and_with_no_other_soft_prompt() -> None:
    one, two = (soft_prompt_arm(soft_prompt(_model(), seed), name=name) for seed, name in ((1, "one"), (2, "two")))
    numbers = list(range(len(ROWS)))
    folds = replace(folded_arm([(soft_prompt(_model(), 3), numbers)], name="one, folds"), origin="one")
    starts = [initialisation_arm(_model(), arm, PROMPT, name=f"initialisation of {arm.name}") for arm in (one, two)]
    arms = [arm for arm in (one, folds, two, *starts, hard_prompt_arm(PROMPT)) if isinstance(arm, Arm)]
    judged = evaluate(_model(), arms, ROWS, target="label", metrics=["exact_match"], options=QUICK)
    pairs = [(each.arm, each.other) for each in judged.comparisons]
    assert [pair for pair in pairs if pair[1].startswith("initialisation")] == [
        ("one", "initialisation of one"),
        ("one, folds", "initialisation of one"),
        ("two", "initialisation of two"),
    ]
    assert [pair for pair in pairs if not pair[1].startswith("initialisation")] == [
        ("one", "one, folds"),
        ("one", "two"),
        ("one", "hard prompt"),
        ("one, folds", "two"),
        ("one, folds", "hard prompt"),
        ("two", "hard prompt"),
    ]


def test_a_score_that_needs_answers_held_to_the_labels_is_told_and_only_where_both_kinds_were_given() -> None:
    scores = _judged().arm("one").scores
    assert (scores["exact_match"].value, scores["accuracy"].value) == (0, pytest.approx(0.375))
    note = "one: its free answers are right in 0.0 %: the accuracy of 37.5 % needs answers held to the labels."
    assert note in _judged().notes
    assert not any(note.startswith("hard prompt") for note in _judged().notes)
    arms = [soft_prompt_arm(soft_prompt(_model(), 1), name="one")]
    for metrics in (["accuracy"], ["exact_match", "accuracy"]):
        judged = evaluate(_model(), arms, ROWS, target="label", metrics=metrics, options=QUICK)
        assert not any("held to the labels" in note for note in judged.notes)


def test_few_rows_come_with_the_names_of_the_metrics_whose_intervals_are_too_narrow() -> None:
    note = "8 rows are few: mind the intervals, and be slow to believe small differences."
    assert f"{note} The intervals of macro_f1 and perplexity are too narrow for so few." in _judged().notes
    judged = evaluate(_model(), [hard_prompt_arm(PROMPT)], ROWS, target="label", metrics=["accuracy"], options=QUICK)
    assert note in judged.notes


def test_no_row_with_full_score_is_among_the_worst_cases() -> None:
    arms = [soft_prompt_arm(soft_prompt(_model(), 1), name="one")]
    judged = evaluate(_model(), arms, ROWS, target="label", options=EvaluationOptions(resamples=100, worst=8, knowledge=False))
    wrong = [number for number, (answer, row) in enumerate(zip(_by_hand(1), ROWS, strict=True), start=1) if answer != row["label"]]
    assert sorted(case.row for case in judged.worst) == wrong
    assert 0 < len(wrong) < len(ROWS)


def test_worst_cases_are_the_wrong_rows_the_least_likely_first() -> None:
    cases = [case for case in _judged().worst if case.arm == "one"]
    keys = [(case.score, case.log_likelihood) for case in cases]
    assert keys == sorted(keys)
    case = cases[0]
    row = ROWS[case.row - 1]
    assert (case.fields, case.wanted) == ({"text": row["text"]}, row["label"])
    loss, count = loss_by_hand(_model(), read_by_hand(_model(), row, instructed=False), row["label"], soft_prompt(_model(), 1))
    assert case.log_likelihood == pytest.approx(-loss / count, rel=1e-4)


def test_training_rows_are_scored_as_evaluation_rows_are() -> None:
    """The gap's own numbers are those of an evaluation of the training rows."""
    on_train = evaluate(
        _model(), [soft_prompt_arm(soft_prompt(_model(), 1), name="one")], TRAIN, target="label", labels=LABELS, options=QUICK
    )
    for gap in _judged().gaps:
        if gap.arm == "one":
            assert gap.train == pytest.approx(on_train.arm("one").scores[gap.metric].value, rel=1e-5)
            assert gap.new == _judged().arm("one").scores[gap.metric].value
            sign = 1 if gap.metric != "perplexity" else -1
            assert gap.difference == pytest.approx(sign * (gap.train - gap.new))


def test_the_same_evaluation_gives_the_same_numbers() -> None:
    arms = [soft_prompt_arm(soft_prompt(_model(), 1), name="one"), hard_prompt_arm(PROMPT)]
    runs = [evaluate(_model(), arms, ROWS, target="label", options=QUICK).to_json() for _ in range(2)]
    for run in runs:
        del run["seconds"]
    assert runs[0] == runs[1]


def test_folds_are_one_arm_whose_rows_are_each_answered_by_their_own_soft_prompt() -> None:
    one, two = soft_prompt(_model(), 1), soft_prompt(_model(), 2)
    odd, even = list(range(1, len(ROWS), 2)), list(range(0, len(ROWS), 2))
    folded = folded_arm([(one, odd), (two, even)], name="folds")
    answers = evaluate(_model(), [folded], ROWS, target="label", train_rows=TRAIN, options=QUICK).arm("folds").answers
    for mode in ("choices", "free"):
        by_arm = [_judged().arm("two").answers[mode], _judged().arm("one").answers[mode]]
        assert list(answers[mode]) == [by_arm[number % 2][number] for number in range(len(ROWS))]


def test_the_gap_of_folds_compares_with_the_same_rows_answered_by_soft_prompts_that_were_trained_on_them() -> None:
    one, two = soft_prompt(_model(), 1), soft_prompt(_model(), 2)
    odd, even = list(range(1, len(ROWS), 2)), list(range(0, len(ROWS), 2))
    judged = evaluate(_model(), [folded_arm([(one, odd), (two, even)])], ROWS, target="label", labels=LABELS, options=QUICK)
    turned = evaluate(_model(), [folded_arm([(one, even), (two, odd)])], ROWS, target="label", labels=LABELS, options=QUICK)
    assert {gap.metric for gap in judged.gaps} == {metric.name for metric in judged.metrics}
    for gap in judged.gaps:
        assert gap.new == judged.arm("folds").scores[gap.metric].value
        assert gap.train == pytest.approx(turned.arm("folds").scores[gap.metric].value, rel=1e-5)


def test_folds_that_miss_a_row_or_hold_one_twice_are_refused() -> None:
    one = soft_prompt(_model(), 1)
    for numbers in (range(len(ROWS) - 1), [0, *range(len(ROWS))]):
        with pytest.raises(EvaluationError, match="must hold each of the 8 rows once"):
            evaluate(_model(), [folded_arm([(one, list(numbers))])], ROWS, target="label", options=QUICK)


def test_a_row_too_long_for_the_context_fails_alone_and_counts_as_wrong() -> None:
    small = tiny_model(max_positions=120)
    rows = [*ROWS, {"text": "an animal with a very long name " * 5, "label": "sea"}]
    arm = soft_prompt_arm(soft_prompt(small, 1), name="one")
    judged = evaluate(small, [arm, hard_prompt_arm(PROMPT)], rows, target="label", options=QUICK)
    (failure,) = judged.arm("one").failures
    assert failure.row == len(rows)
    assert "the context of tiny holds 120" in failure.reason
    assert any("1 of 9 rows could not be answered" in note for note in judged.notes)
    without = evaluate(small, [arm], ROWS, target="label", options=QUICK)
    assert judged.arm("one").scores["accuracy"].value == pytest.approx(without.arm("one").scores["accuracy"].value * 8 / 9)
    assert judged.arm("one").scores["perplexity"].value == pytest.approx(without.arm("one").scores["perplexity"].value)


def test_evaluation_rows_among_the_training_rows_are_told() -> None:
    judged = evaluate(
        _model(),
        [soft_prompt_arm(soft_prompt(_model(), 1), name="one")],
        ROWS,
        target="label",
        train_rows=[*TRAIN, *ROWS[:2], {"text": "eel", "label": "farm"}],
        options=QUICK,
    )
    assert any(note.startswith("3 of 8 evaluation rows are also among the training rows") for note in judged.notes)


def test_examples_are_solved_rows_that_are_not_judged_on_and_show_as_many_labels_as_they_can() -> None:
    for seed in range(5):
        arm = few_shot_arm(PROMPT, [*ROWS, *TRAIN], 3, target="label", seed=seed, unseen=ROWS)
        said = [message["content"] for message in arm.head]
        assert said[0] == INSTRUCTIONS_FIRST
        assert [message["role"] for message in arm.head] == ["system", *["user", "assistant"] * 3]
        assert sorted(said[2::2]) == sorted(LABELS)
        solved = {f"Animal: {row['text']}": row["label"] for row in TRAIN}
        assert [solved[question] for question in said[1::2]] == said[2::2]


INSTRUCTIONS_FIRST = "Say where the animal lives."


def test_more_examples_than_rows_are_refused() -> None:
    with pytest.raises(EvaluationError, match="from 1 to 6 examples"):
        few_shot_arm(PROMPT, [*ROWS, *TRAIN], 7, target="label", unseen=ROWS)


def test_free_text_and_json_get_their_own_metrics_and_no_choices() -> None:
    text = [{"text": row["text"], "label": f"It lives on the {row['label']}, I think, {row['text']}."} for row in ROWS]
    judged = evaluate(_model(), [hard_prompt_arm(PROMPT)], text, target="label", options=QUICK)
    assert (judged.task, set(judged.arms[0].answers)) == ("text", {"free"})
    assert set(judged.arms[0].scores) == {"exact_match", "chrf", "perplexity"}
    objects = [{"text": row["text"], "label": json.dumps({"intent": "live", "slots": {"where": row["label"]}})} for row in ROWS]
    judged = evaluate(_model(), [hard_prompt_arm(PROMPT)], objects, target="label", options=QUICK)
    assert (judged.task, judged.arms[0].scores["slot_f1"].value) == ("json", 0)
    assert judged.confusions == ()


def _is_long(row: dict[str, str], answer: str) -> bool:
    return len(answer) > len(row["label"])


def test_a_python_function_is_a_metric_like_any_other() -> None:
    judged = evaluate(_model(), [hard_prompt_arm(PROMPT)], ROWS, target="label", metrics=[_is_long, "exact_match"], options=QUICK)
    free = judged.arms[0].answers["free"]
    assert (
        judged.arms[0].scores["_is_long"].value == sum(len(answer) > len(row["label"]) for answer, row in zip(free, ROWS, strict=True)) / 8
    )
    assert "choices" not in judged.arms[0].answers


def test_only_what_metrics_look_at_is_asked_for() -> None:
    judged = evaluate(_model(), [hard_prompt_arm(PROMPT)], ROWS, target="label", metrics=["perplexity"], options=QUICK)
    assert judged.arms[0].answers == {}
    assert judged.worst == ()


def test_answer_rows_gives_what_the_arm_gets() -> None:
    """What training may call: the same answers through any engine."""
    soft = soft_prompt(_model(), 1)
    arm = soft_prompt_arm(soft)
    examples = [arm.render(_model(), row, "label") for row in ROWS]
    most = max(len(example.completion) for example in examples) + 8
    with Engine(_model(), EngineLimits(max_rows=3, max_queue=2)) as engine:
        answers = answer_rows(engine, soft, examples, max_tokens=most)
    assert [answer.text for answer in answers] == list(_judged().arm("one").answers["free"])
    assert all(answer.read_tokens == 4 + len(example.text) for answer, example in zip(answers, examples, strict=True))


def test_its_record_is_kept_by_a_manifest_and_read_back() -> None:
    judged = _judged()
    record = judged.record("two")
    manifest = Manifest(base_model={"id": "m", "fingerprint": "0" * 64}, method="kv-prefix", evaluation=record)  # type: ignore[arg-type]
    again = Manifest.from_json(json.loads(manifest.model_dump_json())).evaluation
    assert again == record
    assert record.data == digest_rows(ROWS)
    assert record.scores["accuracy"] == judged.arm("two").scores["accuracy"].value
    assert record.scores["hard prompt/accuracy"] == judged.arm("hard prompt").scores["accuracy"].value
    assert set(record.intervals) <= set(record.scores)
    assert record.settings["max_tokens"] == max(len(row["label"]) for row in ROWS) + 1 + 8
    assert record.environment["model"] == "tiny"


def test_its_json_is_plain_and_has_no_numbers_that_json_has_not() -> None:
    text = json.dumps(_judged().to_json(), allow_nan=False)
    assert json.loads(text)["arms"][0]["scores"]["accuracy"]["interval"]["low"] >= 0


def test_progress_counts_every_answer_and_every_reading() -> None:
    seen: list[tuple[str, int, int]] = []
    arms = [soft_prompt_arm(soft_prompt(_model(), 1)), hard_prompt_arm(PROMPT)]
    evaluate(_model(), arms, ROWS, target="label", options=QUICK, on_progress=lambda *facts: seen.append(facts))
    answering = [(done, total) for what, done, total in seen if what == "answering"]
    assert answering == [(done, 32) for done in range(1, 33)]  # two arms, eight rows, chosen and free
    assert [entry for entry in seen if entry[0] == "reading"][-1] == ("reading", 16, 16)


@pytest.mark.parametrize(
    ("rows", "more", "error", "sentence"),
    [
        ([], {}, EvaluationError, "no rows"),
        ([{"text": "cow"}], {}, TrainingDataError, "row 1: field 'label': expected text"),
        ([{"text": "cow", "label": "farm"}, {"text": "", "label": "farm"}], {}, TrainingDataError, "row 2: field 'text'"),
        (ROWS, {"metrics": ["bleu"]}, EvaluationError, "none named 'bleu'"),
        (ROWS, {"labels": ["farm", "sea"]}, EvaluationError, "'seaside' is wanted in the rows, but is none of the 2 labels"),
    ],
)
def test_what_can_not_be_judged_is_told(rows: Rows, more: dict[str, list[str]], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        evaluate(_model(), [hard_prompt_arm(PROMPT)], rows, target="label", options=QUICK, **more)  # type: ignore[arg-type]


def test_arms_of_one_name_or_none_at_all_are_refused() -> None:
    with pytest.raises(EvaluationError, match="Two arms are named 'hard prompt'"):
        evaluate(_model(), [hard_prompt_arm(PROMPT)] * 2, ROWS, target="label")
    with pytest.raises(EvaluationError, match="nothing to judge"):
        evaluate(_model(), [], ROWS, target="label")
    with pytest.raises(EvaluationError, match="no arm 'three'"):
        _judged().arm("three")


@pytest.mark.parametrize("changes", [{"answers": "some"}, {"max_tokens": 0}, {"resamples": 10}, {"seed": -1}, {"worst": True}])
def test_options_out_of_range_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(InvalidSettingsError, match=f"^{next(iter(changes))}: expected"):
        EvaluationOptions(**changes)  # type: ignore[arg-type]


def test_a_soft_prompt_for_another_model_ends_the_evaluation_unless_it_is_allowed() -> None:
    other = tiny_model(seed=3)
    arm = soft_prompt_arm(soft_prompt(_model(), 1))
    with pytest.raises(ModelMismatchError):
        evaluate(other, [arm], ROWS, target="label", options=QUICK)
    allowed = EvaluationOptions(resamples=100, allow_other_model=True)
    assert evaluate(other, [arm], ROWS, target="label", options=allowed).rows == 8


def test_a_soft_prompt_that_does_not_say_what_to_send_needs_a_template() -> None:
    plain = soft_prompt(_model(), 1, hard_prompt=[], input_messages=[])
    with pytest.raises(EvaluationError, match="does not say which messages to send with it"):
        soft_prompt_arm(plain)
    assert soft_prompt_arm(plain, prompt=PROMPT).fields == ("text",)


@pytest.mark.parametrize("family", ["Gemma2", "Lfm2", "Jamba"])
def test_models_of_other_kinds_are_judged_by_the_same_numbers(family: str) -> None:
    """Sliding windows, a native cache that is copied, one that is read again: answers and losses against transformers alone."""
    on = frozen(family)
    soft = _rows_of_embeddings(on)
    arms = [soft_prompt_arm(soft, name="one", prompt=PROMPT), hard_prompt_arm(PROMPT)]
    judged = evaluate(on, arms, ROWS, target="label", options=QUICK)
    assert judged.knowledge[0].unchanged
    assert not any(arm.failures for arm in judged.arms)
    ids = [read_by_hand(on, row, instructed=True) for row in ROWS]
    assert list(judged.arm("hard prompt").answers["choices"]) == [chosen_by_hand(on, each, LABELS, None) for each in ids]
    losses = [loss_by_hand(on, each, row["label"], None) for each, row in zip(ids, ROWS, strict=True)]
    expected = math.exp(sum(loss for loss, _ in losses) / sum(count for _, count in losses))
    assert judged.arm("hard prompt").scores["perplexity"].value == pytest.approx(expected, rel=1e-3)


def _rows_of_embeddings(on: FrozenModel) -> SoftPrompt:
    config = PromptTuning(peft_type="PROMPT_TUNING", task_type="CAUSAL_LM", num_virtual_tokens=3, token_dim=on.hidden_size)
    return SoftPrompt(config, {"prompt_embeddings": torch.randn(3, on.hidden_size, generator=torch.Generator().manual_seed(1))})
