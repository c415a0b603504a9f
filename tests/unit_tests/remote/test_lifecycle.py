"""Requests end when nobody wants them, engines end when they are closed or dropped, and nothing hangs at the end."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_softprompt import ChatSoftPrompt
from langchain_softprompt.calls.errors import RequestTimeoutError
from langchain_softprompt.errors import EngineClosedError, InvalidSettingsError, RequestCancelledError
from langchain_softprompt.remote import VLLMEngine
from langchain_softprompt.settings import GenerationSettings
from tests.doc_examples import ROOT
from tests.unit_tests.remote.conftest import MakeEngine
from tests.unit_tests.remote.shared import IDS, SHORT
from tests.vllm import LoopbackVLLM

LONG = GenerationSettings(max_new_tokens=800)


def _soon(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


@pytest.fixture
def slow(vllm: LoopbackVLLM) -> LoopbackVLLM:
    vllm.pace = 0.02
    return vllm


def test_cancelling_a_request_ends_it_on_the_server(slow: LoopbackVLLM, make: MakeEngine) -> None:
    generation = make(slow).submit(IDS, settings=LONG)
    next(iter(generation))
    generation.cancel()
    assert generation.result().finish_reason == "cancelled"
    assert _soon(lambda: slow.cancelled == 1)


def test_closing_a_stream_ends_the_request_on_the_server(folder: Path, slow: LoopbackVLLM, make: MakeEngine) -> None:
    stream = ChatSoftPrompt(model=folder, engine=make(slow), max_tokens=800).stream("Hello")
    next(stream)
    stream.close()
    assert _soon(lambda: slow.cancelled == 1)


def test_dropping_a_stream_of_tokens_ends_the_request_on_the_server(slow: LoopbackVLLM, make: MakeEngine) -> None:
    stream = make(slow).stream(IDS, settings=LONG)
    next(stream)
    del stream
    gc.collect()
    assert _soon(lambda: slow.cancelled == 1)


async def test_cancelling_a_task_ends_the_request_on_the_server(folder: Path, slow: LoopbackVLLM, make: MakeEngine) -> None:
    llm = ChatSoftPrompt(model=folder, engine=make(slow), max_tokens=800)
    task = asyncio.ensure_future(llm.ainvoke("Hello"))
    assert await asyncio.to_thread(_soon, lambda: bool(slow.asked()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(_soon, lambda: slow.cancelled == 1)


def test_a_timeout_ends_the_request_on_the_server(folder: Path, slow: LoopbackVLLM, make: MakeEngine) -> None:
    with pytest.raises(RequestTimeoutError):
        ChatSoftPrompt(model=folder, engine=make(slow), max_tokens=800, timeout=0.2).invoke("Hello")
    assert _soon(lambda: slow.cancelled == 1)


def test_cancelling_scores_ends_them(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.add("/v1/completions", hang=True)
    scoring = make(vllm).score(IDS, [[1, 2], [3]])
    assert _soon(lambda: bool(vllm.asked()))
    scoring.cancel()
    with pytest.raises(RequestCancelledError):
        scoring.result()


def test_a_request_that_is_cancelled_before_it_began_asks_nothing(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    engine = make(vllm)
    engine.submit(IDS, settings=SHORT).result()
    for _ in range(20):
        engine.submit(IDS, settings=SHORT).cancel()
    assert engine.submit(IDS, settings=SHORT).result().token_ids
    assert _soon(lambda: engine.load.running == 0)


def test_close_cancels_everything_and_refuses_more(slow: LoopbackVLLM, make: MakeEngine) -> None:
    engine = make(slow)
    running = [engine.submit(IDS, settings=LONG) for _ in range(3)]
    next(iter(running[0]))
    engine.close()
    engine.close()
    assert {one.result().finish_reason for one in running} == {"cancelled"}
    assert engine.closed
    with pytest.raises(EngineClosedError, match="Build a new one"):
        engine.submit(IDS, settings=SHORT)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(f"softprompt-servers {slow.url}")]


def test_an_engine_that_is_dropped_ends_its_thread(folder: Path, vllm: LoopbackVLLM) -> None:
    engine = VLLMEngine(vllm.url).for_model(folder)
    engine.submit(IDS, settings=SHORT).result()
    name = f"softprompt-servers {vllm.url}"
    assert any(thread.name == name for thread in threading.enumerate())
    del engine
    gc.collect()
    assert _soon(lambda: not any(thread.name == name for thread in threading.enumerate()))


def test_an_engine_lives_as_long_as_its_requests(folder: Path, slow: LoopbackVLLM) -> None:
    generation = VLLMEngine(slow.url).for_model(folder).submit(IDS, settings=SHORT)
    gc.collect()
    assert generation.result().finish_reason == "length"


def test_there_is_one_thread_for_all_requests_and_none_before_the_first(folder: Path, slow: LoopbackVLLM, make: MakeEngine) -> None:
    before = threading.active_count()
    engine = make(slow)
    assert threading.active_count() == before
    running = [engine.submit(IDS, settings=SHORT) for _ in range(10)]
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("softprompt-servers")]
    assert len(ours) == 1
    assert len({one.result().token_ids for one in running}) == 1


def test_making_a_chat_model_with_servers_asks_nobody_and_loads_nothing(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    engine = make(vllm, bind=False)
    llm = ChatSoftPrompt(model="no/such-model", engine=engine)
    _ = llm.profile, repr(llm), llm.with_soft_prompt(None)
    assert not engine.bound
    assert not vllm.requests


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_to_make_its_own_engine(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    engine = make(vllm)
    engine.submit(IDS, settings=SHORT).result()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            engine.submit(IDS, settings=SHORT)
        except EngineClosedError:
            os.write(write, b"refused")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"refused"
    os.close(read)
    os.close(write)
    assert engine.submit(IDS, settings=SHORT).result().token_ids, "the parent goes on"


def test_leaving_the_interpreter_waits_for_nobody_and_warns_of_nothing(folder: Path, slow: LoopbackVLLM) -> None:
    """With a stream that is not read on, a request that nobody asked the end of, and scores under way."""
    code = (
        "from langchain_softprompt import ChatSoftPrompt, GenerationSettings\n"
        "from langchain_softprompt.remote import VLLMEngine\n"
        f"engine = VLLMEngine({slow.url!r}).for_model({str(folder)!r})\n"
        f"llm = ChatSoftPrompt(model={str(folder)!r}, engine=engine, max_tokens=800)\n"
        "stream = llm.stream('x'); next(stream)\n"
        "engine.submit([1, 2], settings=GenerationSettings(max_new_tokens=800))\n"
        "engine.score([1, 2], [[3, 4]])\n"
        "import atexit, time; left = time.monotonic()\n"
        "atexit.register(lambda: print(time.monotonic() - left < 5))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
    assert not [word for word in ("ResourceWarning", "never awaited", "Traceback", "destroyed") if word in done.stderr]
    assert _soon(lambda: slow.cancelled >= 1)


def test_an_engine_goes_through_pickle_with_its_settings_and_without_its_model(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    engine = make(vllm, retries=7, api_key="sk-1")
    again = pickle.loads(pickle.dumps(engine))  # noqa: S301 - our own bytes
    assert (again._options, again.bound, repr(again)) == (engine._options, False, repr(engine))


@pytest.mark.parametrize(
    ("urls", "options", "words"),
    [
        ((), {}, "at least one base URL"),
        ((3,), {}, "urls: expected texts"),
        (("gpu-1:8000",), {}, "a base URL such as"),
        (("ftp://gpu-1",), {}, "a base URL such as"),
        (("http://gpu-1:99999",), {}, "a base URL"),
        (("http://gpu-1?x=1",), {}, "a base URL"),
        (("http://me:secret@gpu-1",), {}, "without user and password"),
        (("http://a",), {"api_key": "two\nlines"}, "api_key"),
        (("http://a",), {"headers": {"Authorization": "x"}}, "authorization"),
        (("http://a",), {"headers": {"X": 3}}, "from text to text"),
        (("http://a",), {"headers": {"X": "a\r\nb"}}, "printable ASCII"),
        (("http://a",), {"headers": ["X"]}, "dictionary"),
        (("http://a",), {"retries": -1}, "retries"),
        (("http://a",), {"retries": True}, "retries"),
        (("http://a",), {"read_timeout": 0}, "read_timeout"),
        (("http://a",), {"connect_timeout": float("inf")}, "connect_timeout"),
        (("http://a",), {"check_every": "5"}, "check_every"),
        (("http://a",), {"limits": 5}, "limits"),
        (("http://a",), {"verify": "/no/such/file"}, "certificate authority"),
    ],
)
def test_what_servers_can_not_be_asked_with_is_refused(urls: tuple[str, ...], options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSettingsError, match=words) as raised:
        VLLMEngine(*urls, **options)  # type: ignore[arg-type]
    assert "secret" not in str(raised.value)


def test_urls_may_end_as_openai_clients_want_them_and_are_told_once() -> None:
    assert repr(VLLMEngine("http://gpu-1:8000/v1/", "http://gpu-1:8000", "https://gate/models")) == (
        "VLLMEngine('http://gpu-1:8000', 'https://gate/models')"
    )
