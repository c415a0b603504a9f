"""Several servers: requests that share a cache stay together, and go elsewhere when a server is in trouble."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import ServerMismatchError, ServerUnreachableError
from tests.unit_tests.remote.conftest import MakeEngine
from tests.unit_tests.remote.shared import IDS, PREFIX, SHORT, row_prompt
from tests.vllm import LoopbackVLLM


class _Later:
    """The clock, a minute on."""

    @staticmethod
    def monotonic() -> float:
        return time.monotonic() + 60


def _answers(*servers: LoopbackVLLM) -> list[int]:
    return [len(server.asked("completions")) for server in servers]


def test_requests_of_one_soft_prompt_go_to_one_server_and_many_soft_prompts_to_all(
    vllm: LoopbackVLLM, other: LoopbackVLLM, make: MakeEngine
) -> None:
    engine = make(vllm, other)
    homes = []
    for seed in range(12):
        before = _answers(vllm, other)
        for _ in range(3):
            engine.submit(IDS, soft_prompt=row_prompt(seed), settings=SHORT).result()
        gained = [after - count for after, count in zip(_answers(vllm, other), before, strict=True)]
        assert sorted(gained) == [0, 3]
        homes.append(gained.index(3))
    assert set(homes) == {0, 1}


def test_bare_requests_that_begin_alike_go_to_one_server(vllm: LoopbackVLLM, other: LoopbackVLLM, make: MakeEngine) -> None:
    engine, head = make(vllm, other), (7,) * 64
    for tail in range(6):
        engine.submit((*head, tail), settings=SHORT).result()
    assert sorted(_answers(vllm, other)) == [0, 6]
    for first in range(12):
        engine.submit((first, *head), settings=SHORT).result()
    assert min(_answers(vllm, other)) > 0


def test_the_order_in_which_servers_are_named_does_not_matter(vllm: LoopbackVLLM, other: LoopbackVLLM, make: MakeEngine) -> None:
    for servers in ((vllm, other), (other, vllm)):
        engine = make(*servers)
        for seed in range(6):
            engine.submit(IDS, soft_prompt=row_prompt(seed), settings=SHORT).result()
    assert all(count % 2 == 0 for count in _answers(vllm, other))


@pytest.mark.parametrize("fault", ["down", {"status": 503, "body": b""}, {"status": 500, "body": b""}, {"cut": True}], ids=str)
def test_another_server_answers_for_one_in_trouble(
    vllm: LoopbackVLLM, other: LoopbackVLLM, here: Engine, make: MakeEngine, fault: Any
) -> None:
    engine = make(vllm, other)
    if fault == "down":
        vllm.down()
    else:
        vllm.add(**fault)
    prompts = [row_prompt(seed) for seed in range(6)]
    for prompt in prompts:
        assert engine.submit(IDS, soft_prompt=prompt, settings=SHORT).result().token_ids == (
            here.submit(IDS, soft_prompt=prompt, settings=SHORT).result().token_ids
        )
    assert _answers(other) == [6]


def test_a_server_in_trouble_is_left_alone_for_a_while_and_then_asked_again(
    vllm: LoopbackVLLM, other: LoopbackVLLM, make: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_softprompt.remote.server._FIRST_PAUSE", 0.5)
    engine = make(vllm, other)
    vllm.add(status=503, body=b"")
    for seed in range(20):
        engine.submit(IDS, soft_prompt=row_prompt(seed), settings=SHORT).result()
    tried = len(vllm.requests)
    assert 1 <= tried < 10
    vllm.heal()
    monkeypatch.setattr("langchain_softprompt.remote.server.time", _Later)
    for seed in range(20):
        engine.submit(IDS, soft_prompt=row_prompt(seed), settings=SHORT).result()
    assert _answers(vllm)[0] > 0


def test_all_servers_down_is_an_error_that_names_one(vllm: LoopbackVLLM, other: LoopbackVLLM, make: MakeEngine) -> None:
    engine = make(vllm, other)
    vllm.down()
    other.down()
    with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1"):
        engine.submit(IDS, settings=SHORT).result()


def test_a_server_without_the_soft_prompt_is_passed_over_with_a_warning(
    vllm: LoopbackVLLM, other: LoopbackVLLM, make: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    other.soft_prompts = {PREFIX.content_hash: PREFIX}
    engine = make(vllm, other)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert engine.submit(IDS, soft_prompt=PREFIX, settings=SHORT).result().token_ids
    if _answers(vllm)[0]:  # it was the first to be asked
        assert caplog.text.count("does not have the soft prompt") == 1
    other.soft_prompts = {}
    with pytest.raises(ServerMismatchError, match="does not have the soft prompt"):
        engine.submit(IDS, soft_prompt=PREFIX, settings=SHORT).result()


def test_connections_are_used_again(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    engine = make(vllm)
    for _ in range(10):
        engine.submit(IDS, settings=SHORT).result()
    assert vllm.connections <= 2
