"""A model that two workers share, and a cache too small for all requests, give the tokens of one undisturbed engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.remote import VLLMEngine
from langchain_softprompt.settings import GenerationSettings
from tests.real_vllm.servers import running
from tests.real_vllm.small_model import save_small_model, small_soft_prompts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture(scope="module")
def expecting(model: Path) -> Iterator[Engine]:
    loaded = FrozenModel.load(str(model), dtype="float32", device="cpu")
    with Engine(loaded) as started:
        yield started
    loaded.close()


async def _compare(url: str, model: Path, expecting: Engine) -> None:
    texts = [[5 + row * 7 + place * 3 for place in range(20 + row * 15)] for row in range(4)]
    asked = [(text, soft_prompt) for text in texts for soft_prompt in (*small_soft_prompts(), None)]
    settings = GenerationSettings(max_new_tokens=16)
    with VLLMEngine(url) as client:
        client.for_model(str(model))
        for _ in ("cold", "cached"):
            under_way = [client.submit(text, soft_prompt=soft_prompt, settings=settings) for text, soft_prompt in asked]
            found = await asyncio.gather(*(one.wait() for one in under_way))
            expected = [expecting.submit(text, soft_prompt=soft_prompt, settings=settings).result() for text, soft_prompt in asked]
            assert [one.token_ids for one in found] == [one.token_ids for one in expected]
            assert len({one.token_ids for one in found}) == len(asked)


async def test_two_workers_that_share_the_heads_give_the_same_tokens(model: Path, expecting: Engine, tmp_path: Path) -> None:
    variables = {"VLLM_CPU_OMP_THREADS_BIND": "0|0"}
    with running(tmp_path, str(model), small_soft_prompts(), gpus=2, environment=variables) as server:
        await _compare(server.url, model, expecting)


async def test_requests_that_are_pushed_out_and_read_again_wear_their_soft_prompt_again(
    model: Path, expecting: Engine, tmp_path: Path
) -> None:
    more = ("--num-gpu-blocks-override", "9", "--max-model-len", "160")
    with running(tmp_path, str(model), small_soft_prompts(), *more) as server:
        await _compare(server.url, model, expecting)
        assert server.metric("vllm:num_preemptions_total") > 0
