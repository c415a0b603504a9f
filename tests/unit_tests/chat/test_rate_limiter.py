"""LangChain's rate limiter is asked before each call of the chat model, whatever kind of call it is."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.rate_limiters import BaseRateLimiter

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.testing import FakeEngine, tiny_soft_prompt


class _Counting(BaseRateLimiter):
    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.asked += blocking
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire(blocking=blocking)


@pytest.fixture
def limiter() -> _Counting:
    return _Counting()


@pytest.fixture
def llm(limiter: _Counting) -> ChatSoftPrompt:
    return ChatSoftPrompt(model="fake", engine=FakeEngine(["a"]), rate_limiter=limiter)


async def test_each_call_asks_once(llm: ChatSoftPrompt, limiter: _Counting) -> None:
    async def items(stream: Any) -> None:
        assert [item async for item in stream]

    llm.invoke("x")
    list(llm.stream("x"))
    await llm.ainvoke("x")
    await items(llm.astream("x"))
    llm.batch(["x", "y"])
    assert limiter.asked == 6


def test_copies_bindings_and_choices_share_it(llm: ChatSoftPrompt, limiter: _Counting) -> None:
    llm.with_soft_prompt(tiny_soft_prompt(1)).invoke("x")
    llm.bind(max_tokens=2).invoke("x")
    llm.with_choices(["a", "b"]).invoke("x")
    assert limiter.asked == 3


def test_an_answer_from_the_cache_asks_nobody(llm: ChatSoftPrompt, limiter: _Counting) -> None:
    cached = llm.model_copy(update={"cache": InMemoryCache()})
    assert [cached.invoke("x").text for _ in range(3)] == ["a"] * 3
    assert limiter.asked == 1
