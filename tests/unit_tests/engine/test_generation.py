"""The handle: any number of readers, in threads and in event loops, none of which costs a thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from langchain_softprompt.engine import Generation
from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.tiny import generate, shared, tokens, wait_until

NEW = GenerationSettings(max_new_tokens=12)


def _generation() -> Generation:
    return Generation(prompt_tokens=1, virtual_tokens=0)


async def test_async_iteration_gives_the_same_tokens_and_starts_no_thread(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    before = threading.active_count()
    running = [engine.submit(tokens(n + 1), settings=NEW) for n in range(5)]

    async def read(generation: Generation) -> list[int]:
        return [token async for token in generation]

    answers = await asyncio.gather(*map(read, running))
    assert answers == [generate(shared("llama"), tokens(n + 1), new=12) for n in range(5)]
    assert threading.active_count() == before


async def test_async_wait_gives_the_result(new_engine: NewEngine) -> None:
    generation = new_engine(shared("llama")).submit(tokens(4), settings=NEW)
    assert list((await generation.wait()).token_ids) == generate(shared("llama"), tokens(4), new=12)
    assert await generation.wait() == generation.result()


async def test_the_event_loop_goes_on_while_tokens_are_awaited() -> None:
    generation, order = _generation(), []

    async def read() -> None:
        async for token in generation:
            order.append(token)  # noqa: PERF401 - the order of events is the point

    reader = asyncio.create_task(read())
    await asyncio.sleep(0)
    order.append("the loop is free")
    generation.push(1)
    generation.end("stop")
    await reader
    assert order == ["the loop is free", 1]


async def test_a_task_that_is_cancelled_while_it_waits_leaves_no_listener() -> None:
    generation = _generation()
    reader = asyncio.create_task(generation.wait())
    await asyncio.sleep(0)
    assert len(generation._listeners) == 1
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert not generation._listeners


def test_an_event_loop_that_was_closed_under_a_reader_disturbs_nobody() -> None:
    generation = _generation()
    loop = asyncio.new_event_loop()
    reader = generation.__aiter__()
    started = loop.create_task(reader.__anext__())
    loop.run_until_complete(asyncio.sleep(0))
    started.cancel()  # never awaited: the loop is closed with the reader still registered
    listeners = dict(generation._listeners)
    loop.close()
    generation._listeners |= listeners
    generation.push(1)
    generation.end("stop")
    assert list(generation) == [1]
    assert not generation._listeners


def test_every_reader_sees_all_tokens_from_the_first() -> None:
    generation = _generation()
    answers: list[list[int]] = []
    readers = [threading.Thread(target=lambda: answers.append(list(generation))) for _ in range(4)]
    for reader in readers[:2]:
        reader.start()
    for token in range(50):
        generation.push(token)
    for reader in readers[2:]:
        reader.start()
    generation.end("length")
    for reader in readers:
        reader.join()
    assert answers == [list(range(50))] * 4


def test_the_first_ending_counts_and_later_tokens_are_ignored() -> None:
    generation = _generation()
    generation.push(1)
    assert generation.end("stop")
    assert not generation.end("cancelled")
    generation.push(2)
    assert generation.result().token_ids == (1,)
    assert generation.result().finish_reason == "stop"


def test_a_timeout_says_that_the_request_goes_on() -> None:
    generation = _generation()
    with pytest.raises(TimeoutError, match="still runs"):
        generation.result(timeout=0)
    assert not generation.done


async def test_a_failure_reaches_every_kind_of_reader() -> None:
    generation = _generation()
    generation.end(RequestFailedError("broken"))
    with pytest.raises(RequestFailedError):
        generation.result()
    with pytest.raises(RequestFailedError):
        list(generation)
    with pytest.raises(RequestFailedError):
        await generation.wait()
    with pytest.raises(RequestFailedError):
        [token async for token in generation]


def test_a_reader_that_waits_is_released_by_a_cancel_from_another_thread(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"), max_rows=1)
    blocker = engine.submit(tokens(3), settings=GenerationSettings(max_new_tokens=500))
    waiting = engine.submit(tokens(3), settings=NEW)
    answers: list[list[int]] = []
    reader = threading.Thread(target=lambda: answers.append(list(waiting)))
    reader.start()
    waiting.cancel()
    reader.join()
    assert answers == [[]]
    blocker.cancel()
    wait_until(lambda: engine.load.running == 0)
