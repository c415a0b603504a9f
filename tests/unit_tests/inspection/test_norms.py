"""Norms: lengths are those computed by hand."""

from __future__ import annotations

import pytest
import torch

from langchain_softprompt.data import instruction_ids
from langchain_softprompt.inspection.norms import measure_norms
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.testing import tiny_model
from tests.tiny import frozen
from tests.unit_tests.inspection.looking import PROMPT, about, of_key_values, of_rows, random_key_values, random_rows, text_prefix
from tests.unit_tests.soft_prompt.peft_folders import frozen as without_tokenizer


def test_rows_are_measured_beside_the_vocabulary() -> None:
    model = tiny_model()
    weight = model.model.get_input_embeddings().weight.detach()
    rows = torch.stack([weight[5], 3 * weight[7], torch.zeros(weight.shape[1])])
    soft_prompt = of_rows(rows)
    found = measure_norms(model, soft_prompt, compile_prefix(model, soft_prompt)).embeddings
    assert found is not None
    lengths = weight.square().sum(dim=1).sqrt()
    assert found.rows == pytest.approx([float(lengths[5]), 3 * float(lengths[7]), 0.0], rel=1e-5)
    assert found.percentiles[0] == pytest.approx(float((lengths < lengths[5]).float().mean()), abs=2 / len(lengths))
    assert found.percentiles[2] == 0
    assert found.median == pytest.approx(float(lengths.median()), rel=0.05)
    assert (found.low, found.high) == pytest.approx((float(lengths.quantile(0.05)), float(lengths.quantile(0.95))), rel=1e-5)
    assert sorted(found.vocabulary) == pytest.approx(sorted(lengths.tolist()), rel=1e-5)


def test_keys_and_values_are_measured_over_all_heads_beside_the_hard_prompts() -> None:
    model = tiny_model()
    soft_prompt = random_key_values(model, count=4, manifest=about(model))
    found = measure_norms(model, soft_prompt, compile_prefix(model, soft_prompt))
    assert found.compared_with == "the hard prompt it was made with"
    own = soft_prompt.key_values()
    real = text_prefix(model, instruction_ids(model, PROMPT)[:4])
    assert own is not None
    for layer in found.layers:
        assert layer.keys == pytest.approx(own[:, layer.layer, 0].flatten(1).norm(dim=1).tolist(), rel=1e-5)
        assert layer.values == pytest.approx(own[:, layer.layer, 1].flatten(1).norm(dim=1).tolist(), rel=1e-5)
        assert layer.real_key == pytest.approx(float(real[1:, layer.layer, 0].flatten(1).norm(dim=1).median()), rel=1e-5)
        assert layer.real_value == pytest.approx(float(real[1:, layer.layer, 1].flatten(1).norm(dim=1).median()), rel=1e-5)


def test_a_soft_prompt_twice_as_long_as_the_text_it_came_from_is_said_to_be_twice_as_long() -> None:
    model = tiny_model()
    ids = instruction_ids(model, PROMPT)[:7]  # an odd number without the first would have no middle: six, the lower is taken
    soft_prompt = of_key_values(2 * text_prefix(model, ids), about(model))
    found = measure_norms(model, soft_prompt, compile_prefix(model, soft_prompt))
    for layer in found.layers:
        assert layer.key_ratio == pytest.approx(2, rel=0.2)
    assert "2." in found.reading or "1.9" in found.reading
    assert "times as long" in found.reading


def test_without_a_hard_prompt_neutral_text_is_what_it_is_compared_with() -> None:
    model = tiny_model()
    soft_prompt = random_rows(model)
    found = measure_norms(model, soft_prompt, compile_prefix(model, soft_prompt))
    assert found.compared_with == "neutral text"
    assert len(found.layers) == model.num_layers


def test_without_a_tokenizer_tokens_from_all_over_the_vocabulary_are() -> None:
    model = without_tokenizer("llama")
    soft_prompt = random_key_values(model)
    assert "vocabulary" in measure_norms(model, soft_prompt, compile_prefix(model, soft_prompt)).compared_with


def test_a_model_that_does_without_keys_and_values_has_rows_alone_compared() -> None:
    model = frozen("Lfm2")
    soft_prompt = random_rows(model)
    found = measure_norms(model, soft_prompt, compile_prefix(model, soft_prompt))
    assert found.layers == ()
    assert found.embeddings is not None
    assert "rows" in found.reading
