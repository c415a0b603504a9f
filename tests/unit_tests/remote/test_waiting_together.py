"""Requests that wait for the same thing wait for it once, and are told together what came of it."""

from __future__ import annotations

import asyncio
import time

import pytest

from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import ServerUnreachableError
from langchain_softprompt.prefix import with_probes
from langchain_softprompt.remote.refusals import TryAgainError
from langchain_softprompt.remote.shared import Shared
from tests.unit_tests.remote.conftest import MakeEngine
from tests.unit_tests.remote.shared import IDS, SHORT, row_prompt
from tests.vllm import LoopbackVLLM

_AT_ONCE = 6
_TIMEOUT = 0.4


@pytest.mark.parametrize("path", ["/v1/models", "/v1/soft_prompts"])
def test_a_server_that_hangs_is_given_up_by_all_requests_at_once(vllm: LoopbackVLLM, make: MakeEngine, path: str) -> None:
    vllm.add(path, hang=True)
    engine, began = make(vllm, retries=0, read_timeout=_TIMEOUT), time.monotonic()
    running = [engine.submit(IDS, settings=SHORT) for _ in range(_AT_ONCE)]
    errors = []
    for one in running:
        with pytest.raises(ServerUnreachableError, match=r"sent nothing for 0[.]4 seconds") as raised:
            one.result()
        errors.append(raised.value)
    assert time.monotonic() - began < 3 * _TIMEOUT
    assert [asked for asked, _ in vllm.requests].count(path) == 1
    assert len(set(map(id, errors))) == _AT_ONCE, "each has an error of its own"
    assert {str(error).count(vllm.url) for error in errors} == {1}


def test_a_server_that_hangs_over_probes_is_given_up_by_all_requests_at_once(vllm: LoopbackVLLM, here: Engine, make: MakeEngine) -> None:
    prompt = with_probes(row_prompt(), here.model, [[{"role": "user", "content": "Hi"}]])
    vllm.add("/v1/chat/completions", hang=True)
    engine, began = make(vllm, retries=0, read_timeout=_TIMEOUT), time.monotonic()
    running = [engine.submit(IDS, soft_prompt=prompt, settings=SHORT) for _ in range(_AT_ONCE)]
    for one in running:
        with pytest.raises(ServerUnreachableError):
            one.result()
    assert time.monotonic() - began < 3 * _TIMEOUT
    assert len(vllm.asked()) == 1


def test_a_server_has_less_time_to_say_who_it_is_than_to_answer(
    vllm: LoopbackVLLM, make: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_softprompt.remote.server._LONGEST_SILENCE", 0.2)
    vllm.add("/v1/models", hang=True)
    began = time.monotonic()
    with pytest.raises(ServerUnreachableError, match=r"sent nothing for 0[.]2 seconds"):
        make(vllm, retries=0, read_timeout=20).submit(IDS, settings=SHORT).result()
    assert time.monotonic() - began < 5


def test_requests_that_fail_together_are_one_failure(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    """The next one is put after a second, not after half a minute."""
    vllm.add("/v1/models", status=503, body=b"")
    engine = make(vllm, retries=0)
    for one in [engine.submit(IDS, settings=SHORT) for _ in range(_AT_ONCE)]:
        with pytest.raises(Exception, match="busy"):
            one.result()
    assert 0 < engine._pool()._servers[0].pause <= 1


async def test_shared_work_goes_on_without_one_who_waits_for_it_and_ends_with_the_last() -> None:
    shared: Shared[int] = Shared()
    go, begun, ended = asyncio.Event(), [], []

    async def work() -> int:
        begun.append(1)
        try:
            await go.wait()
        finally:
            ended.append(1)
        return 7

    first, second = (asyncio.ensure_future(shared(work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0.01)
    assert not ended
    go.set()
    assert await second == 7
    go.clear()
    third = asyncio.ensure_future(shared(work))
    await asyncio.sleep(0.01)
    third.cancel()
    fourth = asyncio.ensure_future(shared(work))
    await asyncio.sleep(0.01)
    assert (len(begun), len(ended)) == (3, 2), "whoever comes after the last has left begins anew"
    go.set()
    assert await fourth == 7


async def test_the_failure_of_shared_work_is_told_to_all_in_full() -> None:
    shared: Shared[int] = Shared()

    async def work() -> int:
        await asyncio.sleep(0)
        raise TryAgainError(ServerUnreachableError("It is gone."), wait=3.0)

    told = await asyncio.gather(shared(work), shared(work), return_exceptions=True)
    assert len({id(error) for error in told}) == 2
    for error in told:
        assert isinstance(error, TryAgainError)
        assert (str(error), error.wait, type(error.error), str(error.error)) == ("It is gone.", 3.0, ServerUnreachableError, "It is gone.")
