"""What readers do is their own affair: one that raises, stops or loses its event loop holds up nobody, and its row is free."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from langchain_softprompt.engine import Engine
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.inside import Pass, check_nothing_left, each_pass
from tests.unit_tests.engine.tiny import build, generate, shared, tokens, wait_until_idle

LONG = GenerationSettings(max_new_tokens=400)
NEW = GenerationSettings(max_new_tokens=12)


class ReaderError(Exception):
    pass


def _read_and_raise(engine: Engine) -> None:
    for count, _ in enumerate(engine.stream(tokens(3), settings=LONG)):
        if count == 3:
            raise ReaderError


def test_a_reader_that_raises_in_the_middle_of_a_stream_frees_its_row(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    other = engine.submit(tokens(4), settings=NEW)
    with pytest.raises(ReaderError):
        _read_and_raise(engine)
    assert list(other.result().token_ids) == generate(engine.model, tokens(4), new=12)
    wait_until_idle(engine)
    check_nothing_left(engine)


async def test_a_task_that_raises_in_an_async_for_disturbs_no_other_reader_of_the_same_request(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    generation = engine.submit(tokens(4), settings=NEW)

    async def raises() -> None:
        async for _ in generation:
            raise ReaderError

    async def reads() -> list[int]:
        return [token async for token in generation]

    failed, *answers = await asyncio.gather(raises(), reads(), reads(), return_exceptions=True)
    assert isinstance(failed, ReaderError)
    assert answers == [generate(engine.model, tokens(4), new=12)] * 2
    assert list(generation) == answers[0]


@pytest.mark.parametrize("how", ["iterating", "waiting"])
def test_an_event_loop_that_is_closed_in_the_middle_of_a_stream_is_forgotten(how: str, new_engine: NewEngine) -> None:
    """Nothing was told to the request: its listener is left behind, and everyone else goes on."""
    engine = new_engine(build("llama"))
    may_go_on, begun = threading.Event(), threading.Event()

    def look(_: Pass) -> None:
        begun.set()
        may_go_on.wait()

    with each_pass(engine, look):
        generation, other = engine.submit(tokens(3), settings=NEW), engine.submit(tokens(4), settings=NEW)
        begun.wait()
        loop = asyncio.new_event_loop()
        reader = generation.__aiter__()
        waiting = loop.create_task(reader.__anext__() if how == "iterating" else generation.wait())
        loop.run_until_complete(asyncio.sleep(0))
        assert len(generation._listeners) == 1
        loop.close()
        may_go_on.set()
        for one, length in ((generation, 3), (other, 4)):
            assert list(one.result().token_ids) == generate(engine.model, tokens(length), new=12)
    assert not generation._listeners
    assert not waiting.done()
    waiting.get_coro().close()
    waiting._log_destroy_pending = False  # its loop is gone, as the test wants it
    wait_until_idle(engine)
    check_nothing_left(engine)


async def test_a_task_that_is_cancelled_while_it_awaits_a_result_leaves_the_request_to_its_other_readers(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    may_go_on = threading.Event()
    with each_pass(engine, lambda _: may_go_on.wait()):
        generation = engine.submit(tokens(3), settings=NEW)
        task = asyncio.create_task(generation.wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_go_on.set()
    assert list((await generation.wait()).token_ids) == generate(engine.model, tokens(3), new=12)


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_a_signal_handler_may_cancel_in_the_middle_of_anything(new_engine: NewEngine) -> None:
    """Even while the thread it interrupts holds the request's own lock."""
    engine = new_engine(shared("llama"))
    generation = engine.submit(tokens(3), settings=LONG)
    before = signal.signal(signal.SIGTERM, lambda *_: generation.cancel())
    try:
        with generation._lock:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert generation.result().finish_reason == "cancelled"
    wait_until_idle(engine)
    check_nothing_left(engine)
