"""Sampled answers: many of them follow the distribution that transformers' `generate` draws from, and a seed gives one of them for good."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import pytest
import torch

from langchain_softprompt.engine import Generation
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.tiny import VOCAB, embedding_prompt, shared, tokens

Pair = tuple[int, int]

TEXT = tokens(6, 3)
DRAWS = 400
# Each setting alone and all together; sizes are such that answers differ and the likeliest few make most of them.
WAYS: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.4},
    "top_k": {"temperature": 1.0, "top_k": 4},
    "top_p": {"temperature": 0.8, "top_p": 0.6},
    "min_p": {"temperature": 1.0, "min_p": 0.25},
    "repetition_penalty": {"temperature": 0.5, "repetition_penalty": 1.8},
    "all": {"temperature": 1.4, "top_k": 9, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.3},
}


def _generate(ids: list[list[int]], way: str, *, new: int) -> Any:
    given = {"top_k": 0, **WAYS[way]}
    return shared("llama").model.generate(
        input_ids=torch.tensor(ids),
        attention_mask=torch.ones(len(ids), len(ids[0]), dtype=torch.long),
        do_sample=True,
        max_new_tokens=new,
        min_new_tokens=new,
        pad_token_id=0,
        output_scores=True,
        return_dict_in_generate=True,
        **given,
    )


@cache
def _distribution(way: str) -> dict[Pair, float]:
    """Of the first two tokens of an answer: the softmax of the scores that `generate` itself draws from."""
    first = _generate([TEXT], way, new=1).scores[0][0].softmax(-1)
    possible = first.nonzero().flatten().tolist()
    second = _generate([[*TEXT, token] for token in possible], way, new=1).scores[0].softmax(-1)
    joint = {(token, after): float(first[token] * second[place, after]) for place, token in enumerate(possible) for after in range(VOCAB)}
    return {pair: share for pair, share in joint.items() if share > 0}


def _deviation(drawn: Counter[Pair], expected: dict[Pair, float]) -> float:
    """Pearson's chi-square, in standard deviations above its mean; pairs that are expected less than five times count as one."""
    draws = drawn.total()
    common = [pair for pair, share in expected.items() if share * draws >= 5]
    cells = [(drawn[pair], expected[pair] * draws) for pair in common]
    rare = draws - sum(seen for seen, _ in cells), draws - sum(mean for _, mean in cells)
    cells += [rare] if rare[1] > 1 else []
    freedom = len(cells) - 1
    assert freedom >= 3, "too few cells to tell distributions apart"
    return (sum((seen - mean) ** 2 / mean for seen, mean in cells) - freedom) / (2 * freedom) ** 0.5


@pytest.mark.parametrize("way", WAYS)
def test_many_answers_follow_the_distribution_that_generate_draws_from(way: str, new_engine: NewEngine) -> None:
    """Drawn one token by prefill and one by a shared step of rows; seeds are fixed, so this passes always or never."""
    engine, expected = new_engine(shared("llama")), _distribution(way)
    running = [engine.submit(TEXT, settings=GenerationSettings(max_new_tokens=2, seed=seed, **WAYS[way])) for seed in range(DRAWS)]
    drawn: Counter[Pair] = Counter(generation.result().token_ids for generation in running)
    assert set(drawn) <= set(expected)
    assert _deviation(drawn, expected) < 4


@pytest.mark.parametrize("way", WAYS)
def test_generate_itself_follows_it_and_other_settings_would_not(way: str) -> None:
    """Guards the test above: its measure knows the right distribution, and each wrong one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        answers = _generate([TEXT] * DRAWS, way, new=2).sequences[:, len(TEXT) :].tolist()
    drawn: Counter[Pair] = Counter((first, second) for first, second in answers)
    assert _deviation(drawn, _distribution(way)) < 4
    for other in WAYS:
        if other != way:
            expected = _distribution(other)
            assert not set(drawn) <= set(expected) or _deviation(drawn, expected) > 10


def test_a_seed_gives_the_same_answer_alone_in_a_crowd_cached_or_read_afresh_and_in_chunks(new_engine: NewEngine) -> None:
    model, prompt, text = shared("llama"), embedding_prompt(5), tokens(40, 4)
    chosen = GenerationSettings(max_new_tokens=24, seed=11, **WAYS["all"])
    alone = new_engine(model, prefix_cache_bytes=0).submit(text, soft_prompt=prompt, settings=chosen).result()
    assert alone.cached_tokens == 0

    engine = new_engine(model, max_rows=4, prefill_chunk=7)
    afresh = engine.submit(text, soft_prompt=prompt, settings=chosen).result()
    cached = engine.submit(text, soft_prompt=prompt, settings=chosen).result()
    assert (afresh.cached_tokens, cached.cached_tokens) == (0, 44)

    def others(first: int) -> list[Generation]:
        changed = [chosen.override(seed=first + number, temperature=0.5 + number / 4) for number in range(3)]
        return [engine.submit(text[number:], soft_prompt=prompt, settings=one) for number, one in enumerate(changed)]

    crowd = [*others(0), engine.submit(text, soft_prompt=prompt, settings=chosen), *others(20)]
    assert crowd[3].result().token_ids == alone.token_ids == afresh.token_ids == cached.token_ids
    assert len({generation.result().token_ids for generation in crowd}) == len(crowd)


@pytest.mark.parametrize("family", ["mistral", "falcon_h1", "mamba"])
def test_a_seed_gives_the_same_answer_in_every_kind_of_cache(family: str, new_engine: NewEngine) -> None:
    engine, prompt = new_engine(shared(family), max_rows=4), embedding_prompt(5)
    chosen = GenerationSettings(max_new_tokens=12, seed=3, **WAYS["all"])
    alone = engine.submit(tokens(20), soft_prompt=prompt, settings=chosen).result().token_ids
    crowd = [engine.submit(tokens(20, seed), soft_prompt=prompt, settings=chosen.override(seed=seed)) for seed in (1, 2)]
    again = engine.submit(tokens(20), soft_prompt=prompt, settings=chosen)
    assert again.result().token_ids == alone
    assert all(generation.result().token_ids != alone for generation in crowd)


@pytest.mark.parametrize("penalty", [0.7, 1.3, 3.0])
def test_a_greedy_answer_with_a_repetition_penalty_is_that_of_generate_also_when_its_text_was_cached(
    penalty: float, new_engine: NewEngine
) -> None:
    """Text that was not read again counts as seen all the same."""
    model, text = shared("llama"), tokens(30, 5)
    output = model.model.generate(
        input_ids=torch.tensor([text]),
        attention_mask=torch.ones(1, 30, dtype=torch.long),
        max_new_tokens=30,
        do_sample=False,
        repetition_penalty=penalty,
        pad_token_id=0,
    )
    engine, chosen = new_engine(model), GenerationSettings(max_new_tokens=30, repetition_penalty=penalty)
    for known in (0, 29):
        result = engine.submit(text, settings=chosen).result()
        assert (list(result.token_ids), result.cached_tokens) == (output[0, 30:].tolist(), known)
    assert list(engine.submit(text, settings=chosen.override(repetition_penalty=1.0)).result().token_ids) != output[0, 30:].tolist()
