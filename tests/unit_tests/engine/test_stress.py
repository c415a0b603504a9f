"""Many threads, many requests, random cancels: every answer is exact and nothing stays behind."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

from langchain_softprompt.engine import Engine, GenerationResult
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.tiny import embedding_prompt, generate, shared, tokens, wait_until_idle

THREADS, REQUESTS = 16, 200


@cache
def _expected(length: int, virtual: int) -> list[int]:
    return generate(shared("llama"), tokens(length, length), embedding_prompt(virtual, virtual), new=16)


def _client(engine: Engine, number: int) -> list[tuple[int, int, int, GenerationResult]]:
    """Send this client's share of the requests and give some of them up."""
    chance = random.Random(number)
    ended = []
    for _ in range(number, REQUESTS, THREADS):
        length, virtual, new = chance.randint(1, 9), chance.choice([1, 3, 7]), chance.randint(1, 16)
        settings = GenerationSettings(max_new_tokens=new)
        generation = engine.submit(tokens(length, length), soft_prompt=embedding_prompt(virtual, virtual), settings=settings)
        if chance.random() < 0.4:
            list(zip(range(chance.randint(0, 3)), generation, strict=False))
            generation.cancel()
        ended.append((length, virtual, new, generation.result()))
    return ended


def test_two_hundred_requests_from_sixteen_threads_with_random_cancels_leave_no_row_behind(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"), max_rows=8)
    with ThreadPoolExecutor(THREADS) as pool:
        ended = [one for client in pool.map(partial(_client, engine), range(THREADS)) for one in client]
    wait_until_idle(engine)
    assert len(engine._worker._rows) == 0
    assert len(ended) == REQUESTS
    assert {result.finish_reason for *_, result in ended} == {"length", "cancelled"}
    for length, virtual, new, result in ended:
        assert list(result.token_ids) == _expected(length, virtual)[: len(result.token_ids)]
        assert result.finish_reason == "cancelled" or len(result.token_ids) == new
