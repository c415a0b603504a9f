"""The demo's parts: what it ships, what it compares, what its chain is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langchain_softprompt import ChatSoftPrompt, SoftPrompt
from langchain_softprompt.demo import shipped
from langchain_softprompt.demo.__main__ import main
from langchain_softprompt.demo.chain import frozen_models_in_memory, hard_chain, soft_chain, spoken_questions
from langchain_softprompt.demo.comparison import PLAIN, compare, is_right
from langchain_softprompt.demo.tasks import CLEAN, MOOD, ROUTE, TASKS, Row, Task
from langchain_softprompt.errors import SoftPromptNotFoundError
from langchain_softprompt.testing import FakeEngine, tiny_model

DATA = Path(__file__).parents[3] / "benchmarks" / "data"
SOURCES = {"clean": "disfl_qa", "route": "banking77", "mood": "sentence_polarity"}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_shipped_soft_prompt_says_what_it_is_and_where_its_data_came_from(task: Task) -> None:
    soft_prompt = SoftPrompt.load(task.soft_prompt)
    manifest = soft_prompt.manifest
    assert manifest is not None
    assert manifest.base_model.id == "embedded:smollm2-135m-instruct"
    assert manifest.data is not None
    assert manifest.data.licence == "CC BY 4.0"
    assert manifest.scores["validation_loss"] < manifest.scores["initial_validation_loss"]
    assert soft_prompt.num_virtual_tokens <= 64


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_baseline_is_the_very_hard_prompt_the_soft_prompt_was_made_from(task: Task) -> None:
    manifest = SoftPrompt.load(task.soft_prompt).manifest
    assert manifest is not None
    messages = [(message.role, message.template) for message in manifest.hard_prompt]
    baseline = task.template().format_messages(text="TEXT")
    assert [(message.type, message.content) for message in baseline] == [(role, text.replace("{text}", "TEXT")) for role, text in messages]
    assert [message.template for message in manifest.input_messages] == ["{text}"]
    assert [message.content for message in PLAIN.format_messages(text="TEXT")] == ["TEXT"]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_held_out_rows_were_in_no_training_or_validation_file(task: Task) -> None:
    seen = set()
    for name in ("train", "validation"):
        for line in (DATA / SOURCES[task.name] / f"{name}.jsonl").read_text("utf-8").splitlines():
            seen.add(json.loads(line)["text"])
    rows = task.rows()
    assert len(rows) == 200
    assert not seen & {row.text for row in rows}


def test_an_unknown_shipped_name_lists_those_there_are() -> None:
    with pytest.raises(SoftPromptNotFoundError, match="clean, mood, route"):
        shipped("translate")


def test_an_answer_is_right_only_when_it_is_the_whole_answer() -> None:
    assert is_right(" Positive\n", "positive")
    assert not is_right("The mood is positive", "positive")


def test_spoken_questions_start_with_one_question_and_end_with_another() -> None:
    rows = ROUTE.rows()
    for spoken, row in zip(spoken_questions(8), rows, strict=False):
        assert spoken.text.endswith(row.text[1:])
        assert len(spoken.text) > len(row.text)
        assert spoken.answer == row.answer


def test_every_arm_of_the_comparison_is_judged_on_the_same_rows() -> None:
    engine = FakeEngine(["positive"] * 6)
    rows = [Row("good film", "positive"), Row("bad film", "negative")]
    arms = compare(ChatSoftPrompt(model="embedded", engine=engine), MOOD, rows, lambda _: None)
    assert [arm.name for arm in arms] == ["hard prompt", "hard prompt + 5 examples", "soft prompt"]
    assert [arm.right for arm in arms] == [(True, False)] * 3
    worn = [request.soft_prompt is not None for request in engine.requests]
    assert worn == [False, False, False, False, True, True]


def test_each_step_of_the_soft_chain_wears_its_own_soft_prompt_and_the_hard_chain_none() -> None:
    engine = FakeEngine(["a question", "card_arrival", "negative"] * 2)
    llm = ChatSoftPrompt(model="embedded", engine=engine)
    ticket = soft_chain(llm).invoke({"text": "so my card"}, {"max_concurrency": 1})
    assert set(ticket) == {"text", "intent", "mood"}
    worn = {request.soft_prompt.content_hash for request in engine.requests if request.soft_prompt is not None}
    assert worn == {SoftPrompt.load(task.soft_prompt).content_hash for task in (CLEAN, ROUTE, MOOD)}
    hard_chain(llm).invoke({"text": "so my card"})
    assert [request.soft_prompt for request in engine.requests[3:]] == [None, None, None]


def test_a_model_that_is_not_there_is_one_plain_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["demo", "--model", "/nowhere/[/x]"])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "Error: No model at '/nowhere/[/x]'" in " ".join(capsys.readouterr().out.split())


def test_models_in_memory_are_counted_not_assumed() -> None:
    before = frozen_models_in_memory()
    held = [tiny_model(), tiny_model()]
    assert frozen_models_in_memory() == before + len(held)
