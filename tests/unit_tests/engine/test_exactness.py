"""Rows equal their solo runs, token for token in float32, and solo runs equal transformers' own `generate`."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_softprompt.engine import Engine, Generation
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.tiny import (
    MERGED,
    SEPARATE,
    build,
    embedding_prompt,
    generate,
    key_value_prompt,
    shared,
    tokens,
    wait_until_idle,
    without_prefixes,
)

NEW = 20


def _prompts(family: str) -> list[SoftPrompt | None]:
    kinds: list[SoftPrompt | None] = [None, embedding_prompt(3, 1), embedding_prompt(19, 2)]
    return [*kinds, key_value_prompt(shared(family), 6, 3)]


@pytest.mark.parametrize("family", MERGED)
def test_a_mixed_batch_equals_generate_request_by_request(family: str, new_engine: NewEngine) -> None:
    """Different lengths, different soft prompts and none, all in one batch; texts longer than the sliding window."""
    model = shared(family)
    engine = new_engine(model)
    requests = [(tokens(length, length), prompt) for length in (1, 6, 25) for prompt in _prompts(family)]
    running = [engine.submit(ids, soft_prompt=prompt, settings=GenerationSettings(max_new_tokens=NEW)) for ids, prompt in requests]
    for (ids, prompt), generation in zip(requests, running, strict=True):
        result = generation.result()
        assert list(result.token_ids) == generate(model, ids, prompt, new=NEW)
        assert result.finish_reason == "length"


@pytest.mark.parametrize("family", SEPARATE)
def test_models_with_native_caches_equal_generate_for_plain_requests(family: str, new_engine: NewEngine) -> None:
    model = shared(family)
    assert not model.reuses_prefix
    engine = new_engine(model)
    running = {length: engine.submit(tokens(length), settings=GenerationSettings(max_new_tokens=NEW)) for length in (2, 9, 17)}
    for length, generation in running.items():
        assert list(generation.result().token_ids) == generate(model, tokens(length), new=NEW)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_fallback_without_prefixes_says_the_same_as_compiled_prefixes(family: str, new_engine: NewEngine) -> None:
    fallback = without_prefixes(build(family))
    engine = new_engine(fallback)
    prompts = [embedding_prompt(4, 1), None, embedding_prompt(11, 2)]
    running = [engine.submit(tokens(9), soft_prompt=prompt, settings=GenerationSettings(max_new_tokens=NEW)) for prompt in prompts]
    for prompt, generation in zip(prompts, running, strict=True):
        assert list(generation.result().token_ids) == generate(shared(family), tokens(9), prompt, new=NEW)


def test_a_seed_gives_the_same_tokens_alone_and_in_any_batch(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"), max_rows=5)
    chosen = GenerationSettings(max_new_tokens=30, temperature=1.2, top_k=40, top_p=0.95, repetition_penalty=1.1, seed=5)
    prompt = embedding_prompt(4)
    alone = engine.submit(tokens(8), soft_prompt=prompt, settings=chosen).result().token_ids
    crowd = [engine.submit(tokens(n + 1, n), settings=GenerationSettings(max_new_tokens=9 + n, temperature=1.0)) for n in range(7)]
    again = engine.submit(tokens(8), soft_prompt=prompt, settings=chosen)
    other = engine.submit(tokens(8), soft_prompt=prompt, settings=chosen.override(seed=6))
    assert again.result().token_ids == alone
    assert other.result().token_ids != alone
    for generation in crowd:
        generation.result()


def test_more_requests_than_rows_wait_and_still_get_their_own_tokens(new_engine: NewEngine) -> None:
    model = shared("llama")
    engine = new_engine(model, max_rows=2)
    running = [engine.submit(tokens(n + 1, n), settings=GenerationSettings(max_new_tokens=3 + n)) for n in range(9)]
    for n, generation in enumerate(running):
        assert list(generation.result().token_ids) == generate(model, tokens(n + 1, n), new=3 + n)


_ARRIVALS = st.lists(
    st.tuples(
        st.integers(1, 24),  # text
        st.sampled_from([None, 1, 5, 12]),  # virtual tokens
        st.integers(1, 14),  # new tokens
        st.integers(0, 3),  # tokens of an earlier request to wait for before this one arrives
        st.sampled_from([None, None, None, 0, 2]),  # tokens after which it is cancelled
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("family", ["llama", "mistral"])
@settings(deadline=None, max_examples=20)
@given(arrivals=_ARRIVALS, max_rows=st.integers(1, 4))
def test_any_mix_of_lengths_prefixes_arrivals_and_cancels_keeps_every_row_exact(
    family: str, arrivals: list[tuple[int, int | None, int, int, int | None]], max_rows: int
) -> None:
    model = shared(family)
    with Engine(model, EngineLimits(max_rows=max_rows)) as engine:
        running: list[Generation] = []
        for length, virtual, new, wait, cancel_after in arrivals:
            if running:
                _read(running[-1], wait)
            prompt = embedding_prompt(virtual, virtual) if virtual else None
            generation = engine.submit(tokens(length, length), soft_prompt=prompt, settings=GenerationSettings(max_new_tokens=new))
            running.append(generation)
            if cancel_after is not None:
                _read(generation, cancel_after)
                generation.cancel()
        for (length, virtual, new, _, _), generation in zip(arrivals, running, strict=True):
            result = generation.result()
            assert list(result.token_ids) == _expected(family, length, virtual)[: len(result.token_ids)]
            assert result.finish_reason == "cancelled" or len(result.token_ids) == new
        wait_until_idle(engine)
        assert len(engine._worker._rows) == 0


@cache
def _expected(family: str, length: int, virtual: int | None) -> list[int]:
    return generate(shared(family), tokens(length, length), embedding_prompt(virtual, virtual) if virtual else None, new=14)


def _read(generation: Generation, count: int) -> None:
    for _ in zip(range(count), generation, strict=False):
        pass
