"""Attention shares are transformers' own weights, and the model attends afterwards as it did before."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import DynamicCache

from langchain_softprompt.inspection.attention import NOTE, Attention, LayerAttention, measure_attention
from langchain_softprompt.prefix import compile_prefix
from tests.tiny import frozen
from tests.unit_tests.inspection.looking import EXAMPLES, logits_by_hand, random_key_values

TEXTS = [example.text for example in EXAMPLES]


@pytest.mark.parametrize("family", ["Llama", "GPT2", "Gemma2"])
def test_shares_are_the_mean_over_heads_of_transformers_own_weights(family: str) -> None:
    model = frozen(family)
    prefix = compile_prefix(model, random_key_values(model, count=2))
    eager = copy.deepcopy(model.model)
    eager.set_attn_implementation("eager")
    found = measure_attention(model, prefix, TEXTS)
    at_the_end, everywhere = torch.zeros(model.num_layers, 2), torch.zeros(model.num_layers)
    for text in TEXTS:
        with torch.no_grad():
            weights = eager(
                input_ids=torch.tensor([text]),
                past_key_values=DynamicCache([(keys[None], values[None]) for keys, values in prefix.layers]),
                output_attentions=True,
            ).attentions
        for layer, weight in enumerate(weights):
            at_the_end[layer] += weight[0, :, -1, :2].mean(dim=0) / len(TEXTS)
            everywhere[layer] += weight[0, :, :, :2].sum(dim=-1).mean() / len(TEXTS)
    for layer in found.layers:
        assert layer.tokens == pytest.approx(at_the_end[layer.layer].tolist(), abs=1e-5)
        assert layer.everywhere == pytest.approx(float(everywhere[layer.layer]), abs=1e-5)
    assert found.even == pytest.approx(sum(2 / (2 + len(text)) for text in TEXTS) / len(TEXTS))
    assert found.inputs == len(TEXTS)


def test_of_a_long_text_the_last_positions_are_looked_at_and_what_they_see_is_the_same() -> None:
    model = frozen("Llama")
    prefix = compile_prefix(model, random_key_values(model, count=2))
    text = [(7 * place) % 90 for place in range(100)]
    eager = copy.deepcopy(model.model)
    eager.set_attn_implementation("eager")
    past = DynamicCache([(keys[None], values[None]) for keys, values in prefix.layers])
    with torch.no_grad():
        weights = eager(input_ids=torch.tensor([text]), past_key_values=past, output_attentions=True).attentions
    for layer, weight in zip(measure_attention(model, prefix, [text]).layers, weights, strict=True):
        assert layer.tokens == pytest.approx(weight[0, :, -1, :2].mean(dim=0).tolist(), abs=1e-5)
        assert layer.everywhere == pytest.approx(float(weight[0, :, -64:, :2].sum(dim=-1).mean()), abs=1e-5)


def test_the_model_attends_afterwards_as_before_even_when_reading_fails() -> None:
    model = frozen("Llama")
    prefix = compile_prefix(model, random_key_values(model))
    before, kind = logits_by_hand(model, prefix, EXAMPLES[0]), model.model.config._attn_implementation
    assert kind == "sdpa"
    measure_attention(model, prefix, TEXTS)
    with pytest.raises(IndexError):
        measure_attention(model, prefix, [[10_000]])
    assert model.model.config._attn_implementation == kind
    assert torch.equal(logits_by_hand(model, prefix, EXAMPLES[0]), before)


def test_it_is_said_that_attention_is_no_reason_and_that_the_first_position_says_little() -> None:
    resting = Attention((LayerAttention(0, (0.6, 0.1), 0.5),), 0.4, 3)
    assert resting.note == NOTE
    assert "not why" in NOTE
    assert resting.share == pytest.approx(0.7)
    assert "says little" in resting.reading
    assert "says little" not in Attention((LayerAttention(0, (0.1, 0.6), 0.5),), 0.4, 3).reading
