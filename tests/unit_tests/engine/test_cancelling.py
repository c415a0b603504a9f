"""Who is cancelled takes part in no further step, and its memory is back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from langchain_softprompt.engine import Generation, TokenStream
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.inside import Pass, check_nothing_left, each_pass, prefixes_of, rows_of
from tests.unit_tests.engine.tiny import build, embedding_prompt, generate, tokens, wait_until_idle

LONG = GenerationSettings(max_new_tokens=300)
NEW = GenerationSettings(max_new_tokens=20)


_WAYS: dict[str, Callable[[list[TokenStream]], None]] = {
    "closed": lambda streams: streams[0].close(),
    "dropped": lambda streams: streams.clear(),
    "cancelled": lambda streams: streams[0].generation.cancel(),
}


@pytest.mark.parametrize("family", ["llama", "lfm2"])
@pytest.mark.parametrize("way", _WAYS)
def test_a_row_is_gone_before_the_next_step_and_its_memory_with_the_last_one(way: str, family: str, new_engine: NewEngine) -> None:
    engine = new_engine(build(family))
    held: list[int] = []
    streams: list[TokenStream] = []
    all_there = threading.Event()

    def look(one: Pass) -> None:
        all_there.wait()
        if one.is_step:
            held.append(len(rows_of(engine)))
            if held.count(2) == 4:
                _WAYS[way](streams)

    with each_pass(engine, look):
        streams.append(engine.stream(tokens(4), soft_prompt=embedding_prompt(3), settings=LONG))
        other = engine.submit(tokens(5), settings=NEW)
        all_there.set()
        answer = list(other.result().token_ids)
        wait_until_idle(engine)
    assert answer == generate(engine.model, tokens(5), new=20)
    steps = held[held.index(2) :]
    rows_a_pass = 1 if family == "llama" else 2
    assert steps.count(2) <= 4 + (rows_a_pass - 1)
    assert set(steps[steps.index(1) :]) == {1}
    check_nothing_left(engine)


@pytest.mark.parametrize("chunk", [4, 64])
def test_a_prompt_that_is_cancelled_while_it_is_read_leaves_nothing_behind(chunk: int, new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"), prefill_chunk=chunk)
    running: list[Generation] = []
    there = threading.Event()
    read: list[int] = []

    def look(one: Pass) -> None:
        there.wait()
        if one.has_soft_rows or read:
            read.append(one.length)
            running[0].cancel()

    with each_pass(engine, look):
        running.append(engine.submit(tokens(100), soft_prompt=embedding_prompt(9), settings=NEW))
        there.set()
        assert running[0].result().finish_reason == "cancelled"
        wait_until_idle(engine)
    assert read == [chunk]
    check_nothing_left(engine)


@pytest.mark.parametrize("how", ["iterating", "awaiting the result"])
async def test_a_task_that_cancels_its_request_when_it_is_cancelled_frees_the_row(how: str, new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"), prefix_cache_bytes=20_000)
    generation = engine.submit(tokens(40), soft_prompt=embedding_prompt(9), settings=LONG)
    first = asyncio.Event()

    async def iterate() -> None:
        async for _ in generation:
            first.set()

    async def wait() -> None:
        async for _ in generation:
            first.set()
            break
        await generation.wait()

    async def client() -> None:
        try:
            await (iterate() if how == "iterating" else wait())
        finally:
            generation.cancel()

    task = asyncio.create_task(client())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await generation.wait()).finish_reason == "cancelled"
    await asyncio.to_thread(wait_until_idle, engine)
    assert not generation._listeners
    check_nothing_left(engine)
    assert 0 < prefixes_of(engine).num_bytes <= 20_000
