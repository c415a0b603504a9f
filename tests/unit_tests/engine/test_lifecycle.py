"""Cancelling, closing, dropping, forking and leaving: nobody hangs and no row stays behind."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from langchain_softprompt.engine import Engine, EngineLoad, Generation
from langchain_softprompt.engine.request import Request
from langchain_softprompt.errors import EngineClosedError
from langchain_softprompt.scheduler import Scheduler
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.engine.conftest import NewEngine, engine_threads
from tests.unit_tests.engine.inside import check_nothing_left, each_pass
from tests.unit_tests.engine.tiny import build, generate, shared, tokens, wait_until, wait_until_idle

LONG = GenerationSettings(max_new_tokens=400)


def test_a_cancelled_request_ends_at_once_and_keeps_what_it_had(new_engine: NewEngine) -> None:
    model = shared("llama")
    generation = new_engine(model).submit(tokens(3), settings=LONG)
    first = next(iter(generation))
    generation.cancel()
    assert generation.done
    result = generation.result()
    assert result.finish_reason == "cancelled"
    assert result.token_ids[0] == first
    assert list(generation) == list(result.token_ids)
    generation.cancel()
    assert generation.result() == result


def test_a_waiting_request_can_be_cancelled_and_never_runs(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"), max_rows=1)
    running, waiting = engine.submit(tokens(3), settings=LONG), engine.submit(tokens(3), settings=LONG)
    engine.cancel(waiting)
    assert waiting.result().token_ids == ()
    wait_until(lambda: engine.load == EngineLoad(running=1, waiting=0))
    running.cancel()


def test_cancelling_a_finished_request_changes_nothing(new_engine: NewEngine) -> None:
    generation = new_engine(shared("llama")).submit(tokens(3), settings=GenerationSettings(max_new_tokens=2))
    result = generation.result()
    generation.cancel()
    assert generation.result() == result


@pytest.mark.parametrize("leave", ["close", "break", "with"])
def test_a_stream_that_is_left_cancels_its_request(leave: str, new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    if leave == "close":
        stream = engine.stream(tokens(3), settings=LONG)
        next(stream)
        stream.close()
        assert list(stream) == []
    elif leave == "with":
        with engine.stream(tokens(3), settings=LONG) as stream:
            next(stream)
    else:
        for _ in engine.stream(tokens(3), settings=LONG):
            break
    wait_until_idle(engine)


def test_a_stream_that_nobody_ever_read_is_cancelled_too(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"), max_rows=1)
    streams = [engine.stream(tokens(3), settings=LONG) for _ in range(3)]
    streams.clear()
    wait_until_idle(engine)


def test_a_stream_gives_the_tokens_of_submit(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    assert list(engine.stream(tokens(3), settings=GenerationSettings(max_new_tokens=9))) == generate(shared("llama"), tokens(3), new=9)


def test_a_consumer_that_never_reads_holds_up_nobody(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    unread = engine.submit(tokens(3), settings=LONG)
    other = engine.submit(tokens(4), settings=LONG)
    assert len(other.result().token_ids) == 400
    assert len(unread.result().token_ids) == 400
    assert len(list(unread)) == 400


def test_close_ends_what_runs_and_what_waits_and_refuses_more(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"), max_rows=2)
    running = [engine.submit(tokens(3), settings=LONG) for _ in range(5)]
    next(iter(running[0]))
    engine.close()
    assert [generation.result().finish_reason for generation in running] == ["cancelled"] * 5
    assert engine.closed
    assert not engine_threads()
    with pytest.raises(EngineClosedError, match="Build a new one"):
        engine.submit(tokens(3))
    engine.close()


def test_close_from_many_threads_at_once_is_safe(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    generation = engine.submit(tokens(3), settings=LONG)
    threads = [threading.Thread(target=engine.close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert generation.result().finish_reason == "cancelled"


async def test_close_inside_an_event_loop_ends_every_task_that_waits_there(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"), max_rows=2)
    running = [engine.submit(tokens(3), settings=LONG) for _ in range(5)]

    async def read(generation: Generation) -> int:
        return len([token async for token in generation])

    tasks = [asyncio.create_task(read(generation)) for generation in running]
    waiting = [asyncio.create_task(generation.wait()) for generation in running]
    await asyncio.sleep(0)
    engine.close()
    assert [len(generation.tokens) for generation in running] == await asyncio.gather(*tasks)
    assert {result.finish_reason for result in await asyncio.gather(*waiting)} == {"cancelled"}
    check_nothing_left(engine)
    with pytest.raises(EngineClosedError):
        engine.submit(tokens(3))
    with pytest.raises(EngineClosedError):
        engine.stream(tokens(3))


def test_close_while_threads_submit_and_wait_answers_or_refuses_each_of_them(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"), max_rows=2)
    started = threading.Barrier(9)

    def client(seed: int) -> list[str]:
        started.wait()
        ends: list[str] = []
        while "refused" not in ends:
            try:
                ends.append(engine.submit(tokens(3, seed), settings=GenerationSettings(max_new_tokens=5)).result().finish_reason)
            except EngineClosedError:
                ends.append("refused")
        return ends

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, seed) for seed in range(8)]
        started.wait()
        wait_until(lambda: engine.load.waiting > 0)
        engine.close()
        ends = [one.result() for one in clients]
    assert all(set(one[:-1]) <= {"length", "cancelled"} for one in ends)
    assert not engine_threads()
    check_nothing_left(engine)


def test_close_from_the_engines_own_thread_is_safe(new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"))
    with each_pass(engine, lambda _: engine.close()):
        assert engine.submit(tokens(3), settings=LONG).result().finish_reason == "cancelled"


def test_an_engine_that_is_dropped_ends_its_thread_and_lets_go_of_the_model() -> None:
    model = build("llama")
    engine = Engine(model)
    engine.submit(tokens(3), settings=GenerationSettings(max_new_tokens=3)).result()
    gone, weights = weakref.ref(engine), weakref.ref(model.model)
    del engine, model
    gc.collect()
    wait_until(lambda: not engine_threads())
    gc.collect()
    assert gone() is None
    assert weights() is None


def test_an_engine_that_is_dropped_serves_its_requests_to_the_end() -> None:
    generation = Engine(shared("llama")).submit(tokens(3), settings=GenerationSettings(max_new_tokens=50))
    gc.collect()
    assert len(generation.result().token_ids) == 50
    wait_until(lambda: not engine_threads())


def test_an_idle_engine_sleeps(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    engine.submit(tokens(3), settings=GenerationSettings(max_new_tokens=1)).result()
    worker, looks = engine._worker, []
    wait_until(lambda: len(worker._wake._waiters) == 1)

    class Watched(Scheduler[Request]):
        def __len__(self) -> int:
            looks.append(1)
            return super().__len__()

    worker._scheduler = Watched(max_rows=1, max_queue=1)
    time.sleep(0.1)
    assert looks == []
    assert len(engine.submit(tokens(3), settings=GenerationSettings(max_new_tokens=1)).result().token_ids) == 1


_SCRIPT = """
import os
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import EngineClosedError
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.engine.tiny import build, tokens

engine = Engine(build("llama", max_position_embeddings=10**7))
generation = engine.submit(tokens(4), settings=GenerationSettings(max_new_tokens=200))
next(iter(generation))
child = os.fork()
if child == 0:
    told = 0
    for act in (lambda: engine.submit(tokens(3)), lambda: generation.result(), lambda: next(iter(generation))):
        try:
            act()
        except EngineClosedError as error:
            told += "spawn" in str(error)
    generation.cancel()
    engine.close()
    os._exit(told)
print("errors in the child:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("tokens in the parent:", len(generation.result().token_ids))
running = [engine.submit(tokens(4), settings=GenerationSettings(max_new_tokens=10**6)) for _ in range(4)]
next(iter(running[0]))
print("leaving", flush=True)
"""


@pytest.fixture(scope="module")
def a_process_that_forks_and_leaves() -> subprocess.CompletedProcess[str]:
    """One process for two tests: most of its time goes into importing torch."""
    return subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_what_to_do_instead_of_hanging(a_process_that_forks_and_leaves: subprocess.CompletedProcess[str]) -> None:
    assert a_process_that_forks_and_leaves.stdout.splitlines()[:2] == ["errors in the child: 3", "tokens in the parent: 200"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_interpreter_exits_cleanly_with_work_in_flight(a_process_that_forks_and_leaves: subprocess.CompletedProcess[str]) -> None:
    done = a_process_that_forks_and_leaves
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (0, "leaving", "")
