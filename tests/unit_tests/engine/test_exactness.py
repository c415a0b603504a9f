"""Rows equal their solo runs, token for token in float32, and solo runs equal transformers' own `generate`."""

from __future__ import annotations

import pytest

from langchain_softprompt.settings import GenerationSettings
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
