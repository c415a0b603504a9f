"""Sampling: the distribution is transformers' own, the random stream is the request's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.sampling import Sampler, filter_logits
from langchain_softprompt.settings import GenerationSettings

VOCAB = 50


def _logits(seed: int, scale: float = 4.0) -> Tensor:
    return scale * torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed))


def _transformers(logits: Tensor, chosen: GenerationSettings, seen: list[int]) -> Tensor:
    """Processors in the order in which `generate` builds them."""
    processors = LogitsProcessorList()
    if chosen.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(float(chosen.repetition_penalty)))
    if chosen.temperature != 1:
        processors.append(TemperatureLogitsWarper(float(chosen.temperature)))
    if chosen.top_k:
        processors.append(TopKLogitsWarper(chosen.top_k))
    if chosen.top_p < 1:
        processors.append(TopPLogitsWarper(chosen.top_p))
    return processors(torch.tensor([seen]), logits[None])[0]


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    temperature=st.floats(0.1, 3),
    top_k=st.none() | st.integers(0, 2 * VOCAB),
    top_p=st.floats(0.01, 1),
    penalty=st.floats(0.5, 2),
    seen=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=20),
)
def test_filtered_scores_equal_transformers_bit_for_bit(
    seed: int, temperature: float, top_k: int | None, top_p: float, penalty: float, seen: list[int]
) -> None:
    chosen = GenerationSettings(temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=penalty)
    mask = torch.zeros(VOCAB, dtype=torch.bool)
    mask[seen] = True
    ours = filter_logits(_logits(seed), chosen, mask)
    assert torch.equal(ours, _transformers(_logits(seed), chosen, seen))


def test_drawn_frequencies_follow_the_filtered_distribution() -> None:
    """5000 draws; the largest frequency error allowed is five standard deviations of the likeliest token."""
    chosen = GenerationSettings(temperature=0.8, top_k=8, top_p=0.9, seed=1)
    sampler, logits, draws = Sampler(chosen, [1]), _logits(3), 5_000
    counts = torch.zeros(VOCAB)
    for _ in range(draws):
        counts[sampler.pick(logits)] += 1
    expected = filter_logits(logits, chosen).softmax(-1)
    assert (counts[expected == 0] == 0).all()
    assert (counts / draws - expected).abs().max() < 5 * (0.25 / draws) ** 0.5


def test_temperature_zero_takes_the_likeliest_token_whatever_top_k_and_top_p_say() -> None:
    chosen = GenerationSettings(temperature=0, top_k=5, top_p=0.5, seed=3)
    assert Sampler(chosen, [1]).pick(_logits(5)) == int(_logits(5).argmax())


def test_the_penalty_counts_prompt_and_generated_tokens_also_when_greedy() -> None:
    sampler = Sampler(GenerationSettings(repetition_penalty=10.0), [0])
    logits = torch.tensor([5.0, 4.0, 3.0, -1.0])
    assert [sampler.pick(logits) for _ in range(3)] == [1, 2, 0]


def test_the_penalty_ignores_prompt_ids_beyond_the_logits() -> None:
    sampler = Sampler(GenerationSettings(repetition_penalty=2.0), [1, 99])
    assert sampler.pick(torch.tensor([1.0, 1.5])) == 0


def test_the_same_seed_draws_the_same_tokens_and_no_seed_draws_fresh_ones() -> None:
    def draw(seed: int | None) -> list[int]:
        sampler = Sampler(GenerationSettings(temperature=1.5, seed=seed), [1])
        return [sampler.pick(_logits(number)) for number in range(40)]

    assert draw(11) == draw(11)
    assert draw(11) != draw(12)
    assert draw(None) != draw(None)


def test_drawing_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    Sampler(GenerationSettings(temperature=1.0), [1]).pick(_logits(0))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_fail_with_a_plain_error(bad: float, temperature: float) -> None:
    logits = _logits(0)
    logits[7] = bad
    with pytest.raises(RequestFailedError, match="NaN or infinity"):
        Sampler(GenerationSettings(temperature=temperature), [1]).pick(logits)


def test_tokens_that_the_model_rules_out_itself_are_no_error() -> None:
    logits = torch.full((VOCAB,), -torch.inf)
    logits[4] = 1.0
    assert Sampler(GenerationSettings(temperature=1.0), [1]).pick(logits) == 4


def test_a_temperature_so_small_that_the_division_overflows_is_greedy() -> None:
    logits = _logits(2)
    assert Sampler(GenerationSettings(temperature=1e-45), [1]).pick(logits) == int(logits.argmax())
