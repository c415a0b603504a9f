"""A thousand requests at once with random cancels: every answer is exact and nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from langchain_softprompt.engine import Engine, Generation, GenerationResult
from langchain_softprompt.engine.request import Request
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.engine.conftest import NewEngine, engine_threads
from tests.unit_tests.engine.inside import check_nothing_left, prefixes_of
from tests.unit_tests.engine.tiny import embedding_prompt, shared, tokens, wait_until_idle

THREADS, REQUESTS, LONGEST = 64, 1_000, 6
LIMITS = {"max_rows": 24, "prefill_chunk": 16, "prefix_cache_bytes": 60_000, "row_cache_bytes": 2 << 20}
_SETTINGS = (
    GenerationSettings(),
    GenerationSettings(temperature=1.3, seed=3),
    GenerationSettings(temperature=0.8, top_k=20, top_p=0.9, repetition_penalty=1.2, seed=4),
    GenerationSettings(repetition_penalty=1.5),
)


@dataclass(frozen=True, slots=True)
class _Order:
    """What one client asks for, and after how many tokens it gives up (and how), if it does."""

    text: int
    virtual: int
    settings: int
    new: int
    gives_up_after: int | None

    @classmethod
    def random(cls, number: int) -> _Order:
        chance = random.Random(number)
        gives_up = chance.randint(0, 3) if chance.random() < 0.3 else None
        return cls(
            chance.randint(0, 5), chance.choice([0, 1, 3, 7]), chance.randrange(len(_SETTINGS)), chance.randint(1, LONGEST), gives_up
        )

    @property
    def in_full(self) -> _Order:
        """The same, without an early end."""
        return replace(self, new=LONGEST, gives_up_after=None)

    @property
    def token_ids(self) -> list[int]:
        """Two texts of each three share a head long enough to be remembered."""
        return [*tokens(20, self.text // 3), *tokens(1 + 4 * self.text, self.text)]

    @property
    def soft_prompt(self) -> SoftPrompt | None:
        return embedding_prompt(self.virtual, self.virtual) if self.virtual else None

    def submit(self, engine: Engine) -> Generation:
        settings = _SETTINGS[self.settings].override(max_new_tokens=self.new)
        return engine.submit(self.token_ids, soft_prompt=self.soft_prompt, settings=settings)

    def check(self, result: GenerationResult, alone: tuple[int, ...]) -> None:
        assert result.token_ids == alone[: len(result.token_ids)]
        if self.gives_up_after is None:
            assert result.finish_reason == "length"
        assert result.finish_reason == "cancelled" or len(result.token_ids) == self.new


@pytest.fixture(scope="module")
def alone() -> dict[_Order, tuple[int, ...]]:
    """What each may be answered, found by a request alone in an engine that remembers nothing."""
    with Engine(shared("llama"), EngineLimits(max_rows=1, prefix_cache_bytes=0)) as engine:
        whole = {order: order.submit(engine).result().token_ids for order in {_Order.random(n).in_full for n in range(REQUESTS)}}
    assert len(set(whole.values())) > 50, "the requests are answered differently"
    return whole


def _from_threads(engine: Engine, orders: list[_Order], submitted: Callable[[Generation], None]) -> list[GenerationResult]:
    everyone = threading.Barrier(THREADS)

    def client(first: int) -> list[tuple[int, GenerationResult]]:
        everyone.wait()
        ended = []
        for number in range(first, len(orders), THREADS):
            order = orders[number]
            generation = order.submit(engine)
            submitted(generation)
            if order.gives_up_after is not None:
                list(zip(range(order.gives_up_after), generation, strict=False))
                generation.cancel()
            ended.append((number, generation.result()))
        return ended

    with ThreadPoolExecutor(THREADS) as pool:
        ended = dict(one for client in pool.map(client, range(THREADS)) for one in client)
    return [ended[number] for number in range(len(orders))]


def _from_asyncio(engine: Engine, orders: list[_Order], submitted: Callable[[Generation], None]) -> list[GenerationResult]:
    async def client(order: _Order) -> GenerationResult:
        generation = order.submit(engine)
        submitted(generation)
        if order.gives_up_after is None:
            return await generation.wait()
        seen = 0
        async for _ in generation:
            seen += 1
            if seen > order.gives_up_after:
                break
        generation.cancel()
        return await generation.wait()

    async def everyone() -> list[GenerationResult]:
        return list(await asyncio.gather(*map(client, orders)))

    return asyncio.run(everyone())


@pytest.mark.parametrize("clients", [_from_threads, _from_asyncio], ids=["64 threads", "asyncio"])
def test_a_thousand_requests_with_random_cancels_are_exact_and_leave_nothing_behind(
    clients: Callable[..., list[GenerationResult]], alone: dict[_Order, tuple[int, ...]], new_engine: NewEngine
) -> None:
    """No row, no place in the queue, no thread but the engine's own, no byte of the row cache, no request object."""
    engine, orders = new_engine(shared("llama"), **LIMITS), [_Order.random(number) for number in range(REQUESTS)]
    threads = threading.active_count()
    handles: list[weakref.ref[Generation]] = []
    results = clients(engine, orders, lambda generation: handles.append(weakref.ref(generation)))
    wait_until_idle(engine)
    for order, result in zip(orders, results, strict=True):
        order.check(result, alone[order.in_full])
    assert {result.finish_reason for result in results} == {"length", "cancelled"}
    assert any(result.cached_tokens > 20 for result in results), "shared heads are remembered meanwhile"
    check_nothing_left(engine)
    assert len(prefixes_of(engine)) > 0
    assert threading.active_count() == threads
    assert len(engine_threads()) == 1
    gc.collect()
    assert len(handles) == REQUESTS
    assert not [handle for handle in handles if handle() is not None]
    assert not [one for one in gc.get_objects() if type(one) is Request]
