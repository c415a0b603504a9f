"""Sampling: the distribution is transformers' own, the random stream is the request's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.sampling import Sampler, filter_logits, pick_all
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
    if chosen.min_p > 0:
        processors.append(MinPLogitsWarper(chosen.min_p))
    return processors(torch.tensor([seen]), logits[None])[0]


def _assert_same_as_transformers(logits: Tensor, chosen: GenerationSettings, seen: list[int]) -> None:
    """Bit for bit."""
    mask = torch.zeros(VOCAB, dtype=torch.bool)
    mask[seen] = True
    assert torch.equal(filter_logits(logits, chosen, mask), _transformers(logits, chosen, seen))


_SEEN = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=20)
_CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.floats(0.1, 3),
    "top_k": st.none() | st.integers(0, 2 * VOCAB),
    "top_p": st.floats(0.01, 1),
    "min_p": st.floats(0, 1),
    "repetition_penalty": st.floats(0.5, 2),
}


def _some_logits(seed: int, scale: float, steps: int) -> Tensor:
    """Random ones; in steps, so that some are equal, when there are any."""
    logits = _logits(seed, scale)
    return (logits * steps / scale).round() * scale / steps if steps else logits


_LOGITS = st.builds(_some_logits, st.integers(0, 1000), st.sampled_from([0.1, 4.0, 30.0]), st.sampled_from([0, 2]))


@pytest.mark.parametrize("name", _CHOICES)
@settings(deadline=None, max_examples=50)
@given(data=st.data(), logits=_LOGITS, seen=_SEEN)
def test_each_filter_alone_gives_transformers_scores_bit_for_bit(name: str, data: st.DataObject, logits: Tensor, seen: list[int]) -> None:
    chosen = {"temperature": 1.0, name: data.draw(_CHOICES[name])}
    _assert_same_as_transformers(logits, GenerationSettings(**chosen), seen)


@settings(deadline=None, max_examples=200)
@given(chosen=st.builds(GenerationSettings, **_CHOICES), logits=_LOGITS, seen=_SEEN)
def test_all_filters_together_give_transformers_scores_bit_for_bit(chosen: GenerationSettings, logits: Tensor, seen: list[int]) -> None:
    _assert_same_as_transformers(logits, chosen, seen)


@pytest.mark.parametrize("min_p", [0.0, 0.1, 0.5, 1.0])
def test_min_p_keeps_the_tokens_at_least_that_share_as_likely_as_the_likeliest(min_p: float) -> None:
    """By its definition, in float64; 1 keeps the likeliest alone."""
    logits = _logits(4)
    likely = logits.double().softmax(-1)
    kept = filter_logits(logits, GenerationSettings(temperature=1.0, min_p=min_p)).isfinite()
    assert torch.equal(kept, likely >= min_p * likely.max())
    assert int(kept.sum()) == {0.0: VOCAB, 1.0: 1}.get(min_p, int(kept.sum()))


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


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_every_seed_that_settings_take_can_be_drawn_with(seed: int) -> None:
    one, same = (Sampler(GenerationSettings(temperature=1.5, seed=seed), [1]) for _ in range(2))
    assert [one.pick(_logits(number)) for number in range(9)] == [same.pick(_logits(number)) for number in range(9)]


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


@given(
    rows=st.integers(1, 4),
    size=st.sampled_from([1, 2, 7, 12, 49, 96, 97, 1000]),
    numbers=st.lists(st.sampled_from([-3.0, 0.0, 1.5, 2.0, torch.inf, -torch.inf, torch.nan]), min_size=1, max_size=64),
)
def test_the_likeliest_token_is_the_first_of_the_largest_logits_whatever_the_vocabulary(rows: int, size: int, numbers: list[float]) -> None:
    """Against torch's own maximum over the whole row; ties, infinities and NaN included."""
    logits = torch.tensor((numbers * (rows * size))[: rows * size]).view(rows, size)
    samplers = [Sampler(GenerationSettings(temperature=0), ()) for _ in range(rows)]
    largest, likeliest = logits.max(dim=-1)
    for picked, top, token in zip(pick_all(samplers, logits), largest, likeliest, strict=True):
        if torch.isfinite(top):
            assert picked == token
        else:
            assert isinstance(picked, RequestFailedError)
