"""Whoever gives up on an answer, by a raise, a cancel or a timeout, gives its row and its memory back; others get theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler

from langchain_softprompt.calls.errors import RequestTimeoutError
from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.testing import tiny_model
from tests.unit_tests.chat.conftest import QUESTION
from tests.unit_tests.engine.inside import check_nothing_left
from tests.unit_tests.engine.tiny import wait_until_idle

LONG = 4_000


class ReaderError(Exception):
    pass


class _Raising(BaseCallbackHandler):
    raise_error = True

    def __init__(self) -> None:
        self.tokens = 0

    def on_llm_new_token(self, *_: Any, **__: Any) -> None:
        self.tokens += 1
        if self.tokens == 3:
            raise ReaderError


class _AsyncRaising(AsyncCallbackHandler):
    raise_error = True

    async def on_llm_new_token(self, *_: Any, **__: Any) -> None:
        raise ReaderError


@pytest.fixture
def alone() -> Iterator[ChatSoftPrompt]:
    """A model with an engine of its own, in which nothing may be left at the end."""
    with Engine(tiny_model(max_positions=8_192)) as engine:
        llm = ChatSoftPrompt(model="tiny", engine=engine, max_tokens=8)
        before = llm.invoke(QUESTION).text
        yield llm
        wait_until_idle(engine)
        check_nothing_left(engine)
        assert llm.invoke(QUESTION).text == before


def test_a_callback_that_raises_in_the_middle_of_a_stream_ends_it(alone: ChatSoftPrompt) -> None:
    with pytest.raises(ReaderError):
        list(alone.stream(QUESTION, {"callbacks": [_Raising()]}, max_tokens=LONG))
    streaming = alone.model_copy(update={"streaming": True})
    with pytest.raises(ReaderError):
        streaming.invoke(QUESTION, {"callbacks": [_Raising()]}, max_tokens=LONG)


async def test_a_callback_that_raises_in_the_middle_of_an_async_stream_ends_it(alone: ChatSoftPrompt) -> None:
    for handler in (_Raising(), _AsyncRaising()):
        with pytest.raises(ReaderError):
            async for _ in alone.astream(QUESTION, {"callbacks": [handler]}, max_tokens=LONG):
                pass
    await asyncio.to_thread(wait_until_idle, alone.engine)


def _read_and_raise(llm: ChatSoftPrompt) -> None:
    for _ in llm.stream(QUESTION, max_tokens=LONG):
        raise ReaderError


async def _read_and_raise_in_a_loop(llm: ChatSoftPrompt) -> None:
    async for _ in llm.astream(QUESTION, max_tokens=LONG):
        raise ReaderError


async def test_a_reader_that_raises_disturbs_no_other(alone: ChatSoftPrompt) -> None:
    expected = alone.invoke(QUESTION).text
    failed, fine = await asyncio.gather(_read_and_raise_in_a_loop(alone), alone.ainvoke(QUESTION), return_exceptions=True)
    assert isinstance(failed, ReaderError)
    assert not isinstance(fine, BaseException)
    assert fine.text == expected
    with pytest.raises(ReaderError):
        await asyncio.to_thread(_read_and_raise, alone)


@pytest.mark.parametrize("how", ["iterating", "awaiting"])
async def test_a_task_that_is_cancelled_gives_its_memory_back(how: str, alone: ChatSoftPrompt) -> None:
    begun = asyncio.Event()

    class Begun(AsyncCallbackHandler):
        async def on_llm_new_token(self, *_: Any, **__: Any) -> None:
            begun.set()

    async def iterate() -> None:
        async for _ in alone.astream(QUESTION, max_tokens=LONG):
            begun.set()

    streaming = alone.model_copy(update={"streaming": True})
    task = asyncio.create_task(
        iterate() if how == "iterating" else streaming.ainvoke(QUESTION, {"callbacks": [Begun()]}, max_tokens=LONG)  # type: ignore[arg-type]
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until_idle, alone.engine)


def test_answers_that_take_too_long_give_their_memory_back(alone: ChatSoftPrompt) -> None:
    answers = alone.batch([QUESTION] * 3, return_exceptions=True, max_tokens=LONG, timeout=0.05)
    assert [type(answer).__name__ for answer in answers] == [RequestTimeoutError.__name__] * 3


def test_a_batch_of_which_one_item_raises_leaves_no_row_behind(alone: ChatSoftPrompt) -> None:
    with pytest.raises(ReaderError):
        alone.model_copy(update={"streaming": True}).batch([QUESTION] * 4, {"callbacks": [_Raising()]}, max_tokens=200)
