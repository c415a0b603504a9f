"""Scores: beside the baselines, with their intervals, from each of the three things that hold them."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest

from langchain_softprompt.card import card_problems, write_card
from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.evaluation import EvaluationOptions, baselines, evaluate, soft_prompt_arm
from langchain_softprompt.soft_prompt import Manifest
from tests.unit_tests.card.cards import card, evaluation, front, read, soft_prompt, tokens
from tests.unit_tests.evaluation import judging


def _lines(text: str) -> list[str]:
    return read(text).splitlines()


def _rows(text: str, head: str) -> list[list[str]]:
    """The cells of the table that has a column of that name."""
    rows: list[list[str]] = []
    tables: list[list[list[str]]] = []
    found = tokens(text)
    for place, token in enumerate(found):
        if token.type == "table_open":
            rows = []
            tables.append(rows)
        if token.type == "tr_open":
            rows.append([])
        if token.type in {"th_open", "td_open"}:
            rows[-1].append("".join(each.content for each in found[place + 1].children or []))
    return next(table for table in tables if head in table[0])


def test_a_soft_prompt_stands_beside_its_baselines_with_intervals() -> None:
    rows = _rows(card(evaluation=evaluation()), "accuracy, one of the labels")
    assert rows[1:] == [
        ["this soft prompt", "86.0 % (83.0 to 89.0 %)", "1.5 (1.25 to 1.75)", "99"],
        ["hard prompt, as text", "63.0 % (60.0 to 66.0 %)", "1.5 (1.25 to 1.75)", "99"],
        ["hard prompt with 5 solved examples, as text", "58.0 % (55.0 to 61.0 %)", "1.5 (1.25 to 1.75)", "99"],
    ]


def test_a_difference_is_told_with_its_interval_and_how_sure_it_is() -> None:
    rows = _rows(card(evaluation=evaluation()), "difference")
    assert rows[1:] == [["hard prompt, as text", "+23.0 points", "+20.0 to +26.0", "p < 0.001", "better"]]


def test_what_a_reader_must_know_to_trust_the_numbers_is_said() -> None:
    said = _lines(card(evaluation=evaluation()))
    assert "No over-fitting shows." in said
    assert "Text about other things is hardly read another way." in said
    assert "this soft prompt: 3 of 500 rows could not be answered and count as wrong." in said
    assert "Not compared: initialisation, because it started as the whole hard prompt, whose scores stand above." in said
    assert "On 500 rows of test.jsonl; 95 % confidence intervals in brackets." in said


def test_the_hub_gets_the_soft_prompts_own_scores_and_no_others() -> None:
    (index,) = front(card(evaluation=evaluation()))["model-index"]
    assert index["name"] == "acme/homes"
    (result,) = index["results"]
    assert result["task"] == {"type": "text-classification"}
    assert result["dataset"] == {"type": "unknown", "name": "test.jsonl"}
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [("accuracy", 0.86), ("perplexity", 1.5)]
    assert result["metrics"][0]["name"] == "accuracy, one of the labels (95 % interval 83.0 to 89.0 %)"


def test_without_an_evaluation_the_hub_gets_no_scores_although_training_had_some() -> None:
    text = card()
    assert "model-index" not in front(text)
    assert _rows(text, "score")[1:] == [["loss (lower is better)", "0.25"]]
    assert any(line.startswith("From training, on 100 validation rows.") for line in _lines(text))


def test_scores_of_a_training_without_validation_rows_are_not_said_to_be_of_any() -> None:
    for data in (None, {"digest": "d" * 64, "rows": 9, "validation_rows": 0}):
        text = card(soft_prompt(data=data))
        assert "Written down in training:" in _lines(text)
        assert "validation rows. Its best step" not in text


def test_rows_on_the_hub_are_named_by_their_data_set() -> None:
    (index,) = front(card(evaluation=evaluation(source="https://huggingface.co/datasets/acme/animals")))["model-index"]
    assert index["results"][0]["dataset"] == {"type": "acme/animals", "name": "acme/animals"}


def test_scores_measured_on_other_weights_say_so() -> None:
    other = evaluation(environment={"fingerprint": "0" * 64})
    assert "These scores were measured on other weights than those it was made for." in read(card(evaluation=other))
    assert "other weights than those it was made for." not in read(card(evaluation=evaluation())).replace("On other weights", "")


def test_scores_of_a_cross_validation_say_that_they_are_not_its_own() -> None:
    arms = evaluation()["arms"]
    arms[0]["name"] = "prompts/homes, 5 folds"
    told = evaluation(arms=arms, left_out={"prompts/homes": "it was trained on these rows; its folds stand for it"})
    text = card(evaluation=told)
    assert "These are the scores of 5 soft prompts that were made as this one was" in read(text)
    assert "Not compared: this soft prompt, because it was trained on these rows; its folds stand for it." in _lines(text)
    (index,) = front(text)["model-index"]
    assert "5-fold cross-validation" in index["results"][0]["metrics"][0]["name"]


def test_of_several_soft_prompts_only_its_own_scores_are_told() -> None:
    arms = evaluation()["arms"]
    other = {**arms[0], "name": "/home/jdoe/other", "scores": {"accuracy": {"value": 0.11}}}
    starts = [{**arms[1], "name": f"initialisation of {name}", "kind": "initialisation"} for name in ("prompts/homes", "/home/jdoe/other")]
    text = card(evaluation=evaluation(arms=[other, *arms, *starts], notes=["/home/jdoe/other: its free answers are right in 1 %."]))
    names = [row[0] for row in _rows(text, "accuracy, one of the labels")[1:]]
    assert names == [
        "this soft prompt",
        "hard prompt, as text",
        "hard prompt with 5 solved examples, as text",
        "what it was before training",
    ]
    assert "11.0 %" not in text
    assert "free answers are right" not in text


def test_of_several_soft_prompts_it_must_be_clear_which_one_it_is() -> None:
    arms = evaluation()["arms"]
    two = [{**arms[0], "name": "a"}, {**arms[0], "name": "b"}]
    with pytest.raises(EvaluationError, match="2 soft prompts, none of them named 'prompts/homes'"):
        card(evaluation=evaluation(arms=two))


def test_an_evaluation_of_a_soft_prompt_of_another_length_is_not_its_own() -> None:
    arms = [{**arm, "virtual_tokens": 5} for arm in evaluation()["arms"]]
    with pytest.raises(EvaluationError, match="has 5 virtual tokens, and this one has 4"):
        card(evaluation=evaluation(arms=arms))


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({}, "rows"),
        ([], "content"),
        ({"rows": 0}, "rows"),
        (evaluation(arms=[]), "arms"),
        (evaluation(arms=[{"name": "a", "kind": "a kind of its own", "scores": {}}]), "arms.0.kind"),
        (evaluation(metrics=[{"name": "accuracy", "scale": "share", "answers": "some"}]), "metrics.0.answers"),
    ],
)
def test_what_is_no_evaluation_is_refused_by_the_field_at_fault(content: Any, field: str) -> None:
    with pytest.raises(EvaluationError, match=f"evaluation: {field}: "):
        card(evaluation=content)


def test_an_evaluation_without_a_soft_prompt_is_refused() -> None:
    with pytest.raises(EvaluationError, match="it judges no soft prompt"):
        card(evaluation=evaluation(arms=evaluation()["arms"][1:]))


def test_a_score_without_a_value_is_a_dash_and_no_result() -> None:
    arms = evaluation()["arms"]
    arms[0]["scores"]["perplexity"] = {"value": None, "interval": {"low": None, "high": None}}
    text = card(evaluation=evaluation(arms=arms))
    assert _rows(text, "accuracy, one of the labels")[1][2] == "–"  # noqa: RUF001
    (index,) = front(text)["model-index"]
    assert [metric["type"] for metric in index["results"][0]["metrics"]] == ["accuracy"]


def _record(**facts: Any) -> dict[str, Any]:
    return {"data": "e" * 64, "rows": 500, "target": "home", "scores": {"accuracy": 0.86}, **facts}


def test_what_a_manifest_keeps_of_an_evaluation_is_told_where_none_is_given() -> None:
    scores = {"accuracy": 0.86, "hard prompt/accuracy": 0.63, "hard prompt + 5 examples/accuracy": 0.58, "other/one/accuracy": 0.11}
    intervals = {"accuracy": [0.83, 0.89], "hard prompt/accuracy": [0.6, 0.66]}
    kept = _record(scores=scores, intervals=intervals, settings={"answers": "choices and free"})
    rows = _rows(card(soft_prompt(evaluation=kept)), "accuracy, one of the labels")
    assert rows[1:] == [
        ["this soft prompt", "86.0 % (83.0 to 89.0 %)"],
        ["hard prompt, as text", "63.0 % (60.0 to 66.0 %)"],
        ["hard prompt with 5 solved examples, as text", "58.0 %"],
    ]


@pytest.mark.parametrize("kept", [_record(scores={}), _record(rows=0), _record(scores={"hard prompt/accuracy": 0.63})])
def test_a_record_without_scores_of_the_soft_prompt_is_no_evaluation(kept: dict[str, Any]) -> None:
    text = card(soft_prompt(evaluation=kept))
    assert card_problems(text) == []
    assert "An evaluation beside baselines, on rows it was not trained on, is not recorded." in read(text)


def test_an_evaluation_given_wins_over_the_one_on_record() -> None:
    text = card(soft_prompt(evaluation=_record(scores={"accuracy": 0.11})), evaluation=evaluation())
    assert "11.0 %" not in text


@pytest.mark.skipif(find_spec("sklearn") is None, reason="judging is an extra")
def test_an_evaluation_says_the_same_as_itself_its_json_and_its_record() -> None:
    model = judging.model()
    arm = soft_prompt_arm(judging.soft_prompt(model), name="prompts/homes")
    others, left_out = baselines(model, [arm], judging.ROWS, target="label", train_rows=judging.TRAIN, few_shot=2)
    options = EvaluationOptions(knowledge=False, max_tokens=4)
    judged = evaluate(model, [arm, *others], judging.ROWS, target="label", options=options, source="rows.jsonl", left_out=left_out)
    assert arm.soft_prompt is not None
    assert arm.soft_prompt.manifest is not None
    with_record = Manifest.model_validate({**arm.soft_prompt.manifest.model_dump(), "evaluation": judged.record().model_dump()})
    kept = replace(arm.soft_prompt, manifest=with_record)
    whole = write_card(arm.soft_prompt, "acme/homes", base_model="acme/base", evaluation=judged)
    parsed = write_card(arm.soft_prompt, "acme/homes", base_model="acme/base", evaluation=json.loads(json.dumps(judged.to_json())))
    on_record = write_card(kept, "acme/homes", base_model="acme/base")
    assert whole == parsed
    assert card_problems(whole) == []
    assert front(whole)["model-index"] == front(on_record)["model-index"]
    with_tokens = _rows(whole, "tokens read a row")
    assert [row[:-1] for row in with_tokens] == _rows(on_record, with_tokens[0][1])
    assert len(with_tokens) == 2 + len(others)
