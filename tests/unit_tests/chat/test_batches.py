"""Batches: each item as if alone, decoded together, with its own config and its own error."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import ContextLengthError
from langchain_softprompt.testing import FakeEngine, tiny_model, tiny_soft_prompt
from tests.unit_tests.chat.conftest import QUESTION, Expected

QUESTIONS = [f"Question {number}?" for number in range(24)]


def test_eight_threads_with_three_soft_prompts_answer_as_one_after_the_other(llm: ChatSoftPrompt, expected: Expected) -> None:
    """Greedy, float32: token for token."""
    choices = [(question, choice) for question in QUESTIONS[:8] for choice in (expected.a, expected.b, None)]
    serial = [llm.invoke(question, soft_prompt=choice).text for question, choice in choices]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda item: llm.invoke(item[0], soft_prompt=item[1]).text, choices))
    assert parallel == serial


def test_batch_answers_in_order(llm: ChatSoftPrompt) -> None:
    assert [answer.text for answer in llm.batch(QUESTIONS[:8])] == [llm.invoke(question).text for question in QUESTIONS[:8]]


async def test_abatch_answers_in_order(llm: ChatSoftPrompt) -> None:
    assert [answer.text for answer in await llm.abatch(QUESTIONS[:8])] == [llm.invoke(question).text for question in QUESTIONS[:8]]


async def test_as_completed_numbers_its_answers(llm: ChatSoftPrompt) -> None:
    serial = {index: llm.invoke(question).text for index, question in enumerate(QUESTIONS[:5])}
    assert {index: answer.text for index, answer in llm.batch_as_completed(QUESTIONS[:5])} == serial
    assert {index: answer.text async for index, answer in llm.abatch_as_completed(QUESTIONS[:5])} == serial


class _Watching(Engine):
    """Knows how many requests were under way at once."""

    most = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        generation = super().submit(*args, **kwargs)
        self.most = max(self.most, self.load.running + self.load.waiting)
        return generation


@pytest.fixture
def watching() -> Any:
    with _Watching(tiny_model()) as engine:
        yield engine


def test_batch_has_enough_items_under_way_to_fill_the_engines_rows() -> None:
    """No item is answered before all have reached the engine; LangChain's own pool has a few threads for each core."""
    everyone = threading.Barrier(len(QUESTIONS))
    engine = FakeEngine(lambda _: "together" if everyone.wait(60) >= 0 else "")
    answers = ChatSoftPrompt(model="fake", engine=engine).batch(QUESTIONS)
    assert {answer.text for answer in answers} == {"together"}


async def test_abatch_fills_the_engines_rows(watching: _Watching) -> None:
    await ChatSoftPrompt(model="tiny", engine=watching, max_tokens=120).abatch(QUESTIONS)
    assert watching.most >= watching.limits.max_rows


async def test_max_concurrency_is_kept_to(watching: _Watching) -> None:
    llm, questions = ChatSoftPrompt(model="tiny", engine=watching, max_tokens=8), QUESTIONS[:8]
    llm.batch(questions, {"max_concurrency": 2})
    assert watching.most <= 2
    await llm.abatch(questions, {"max_concurrency": 2})
    assert watching.most <= 2
    (RunnableLambda(str) | llm).batch(questions, {"max_concurrency": 2})
    assert watching.most <= 2


def _failing() -> ChatSoftPrompt:
    engine = FakeEngine(lambda request: ContextLengthError("too long") if "2?" in request.prompt else "fine")
    return ChatSoftPrompt(model="fake", engine=engine)


async def test_one_items_error_is_its_own() -> None:
    answers = _failing().batch(QUESTIONS[:4], return_exceptions=True)
    assert [isinstance(answer, ContextLengthError) for answer in answers] == [False, False, True, False]
    answers = await _failing().abatch(QUESTIONS[:4], return_exceptions=True)
    assert [isinstance(answer, ContextLengthError) for answer in answers] == [False, False, True, False]
    with pytest.raises(ContextLengthError):
        _failing().batch(QUESTIONS[:4])


class _Runs(BaseCallbackHandler):
    def __init__(self) -> None:
        self.starts: list[list[str]] = []

    def on_chat_model_start(self, *_: Any, **kwargs: Any) -> None:
        self.starts.append(kwargs["tags"])


def test_each_item_has_its_own_config_and_run() -> None:
    runs, llm = _Runs(), ChatSoftPrompt(model="fake", engine=FakeEngine())
    llm.batch(QUESTIONS[:3], [{"tags": [str(index)], "callbacks": [runs]} for index in range(3)])
    assert sorted(runs.starts) == [["0"], ["1"], ["2"]]


def test_empty_batch_is_empty() -> None:
    assert ChatSoftPrompt(model="fake", engine=FakeEngine()).batch([]) == []


async def test_many_tasks_with_three_soft_prompts_answer_as_one_after_the_other(llm: ChatSoftPrompt) -> None:
    choices = [tiny_soft_prompt(1), tiny_soft_prompt(2), None] * 4
    serial = [llm.invoke(QUESTION, soft_prompt=choice).text for choice in choices]
    answers = await asyncio.gather(*(llm.ainvoke(QUESTION, soft_prompt=choice) for choice in choices))
    assert [answer.text for answer in answers] == serial
