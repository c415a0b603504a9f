"""Retained knowledge: really compared, and the divergence is the one computed row by row in transformers alone."""

from __future__ import annotations

import math

import pytest
import torch

from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import ChatTemplateError
from langchain_softprompt.evaluation import BareModel, EvaluationOptions, evaluate, soft_prompt_arm
from langchain_softprompt.evaluation.knowledge import neutral_texts
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.evaluation.judging import ROWS, model, soft_prompt

_TEXTS = ("The river is wide.", "Water boils.", "A map of the hills shows two towns.", "Bees.", "Snow fell.")


@torch.no_grad()
def _by_hand(on: FrozenModel) -> tuple[float, float, float]:
    """KL divergence a token, loss off and on: one text at a time."""
    assert on.tokenizer is not None
    prefix = compile_prefix(on, soft_prompt(on, 1))
    divergence, off_loss, on_loss, count = 0.0, 0.0, 0.0, 0
    for text in _TEXTS:
        ids = torch.tensor([on.tokenizer.encode(text, add_special_tokens=False)])
        positions = torch.arange(prefix.length, prefix.length + ids.shape[1])[None]
        off = on.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        served = on.model(input_ids=ids, past_key_values=prefix.to_cache(on), position_ids=positions).logits[0, :-1].log_softmax(-1)
        divergence += float(torch.nn.functional.kl_div(served, off, log_target=True, reduction="sum"))
        off_loss -= float(off.gather(1, ids[0, 1:, None]).sum())
        on_loss -= float(served.gather(1, ids[0, 1:, None]).sum())
        count += ids.shape[1] - 1
    return divergence / count, math.exp(off_loss / count), math.exp(on_loss / count)


def test_divergence_and_perplexities_are_those_that_transformers_alone_comes_to() -> None:
    on = model()
    kept = BareModel.look(on, _TEXTS).beside(on, "one", soft_prompt(on, 1))
    divergence, off, with_it = _by_hand(on)
    assert kept.divergence == pytest.approx(divergence, rel=1e-4)
    assert (kept.perplexity_off, kept.perplexity_on) == pytest.approx((off, with_it), rel=1e-4)
    assert kept.tokens == sum(len(text) - 1 for text in _TEXTS)


def test_the_bare_models_logits_are_bit_equal_after_soft_prompts_were_used_in_an_engine() -> None:
    on = model()
    before = BareModel.look(on)
    with Engine(on) as engine:
        running = [
            engine.submit(
                list(range(5, 30)), soft_prompt=soft_prompt(on, seed) if seed else None, settings=GenerationSettings(max_new_tokens=9)
            )
            for seed in range(4)
        ]
        for generation in running:
            generation.result()
    assert before.unchanged(on)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_weight_that_moved_by_the_smallest_step_is_noticed(layer: int) -> None:
    on = model()
    before = BareModel.look(on)
    weight = on.model.model.layers[layer].mlp.down_proj.weight
    with torch.no_grad():
        weight.copy_(torch.nextafter(weight, torch.full_like(weight, math.inf)))
    kept = before.beside(on, "one", soft_prompt(on, 1))
    assert not kept.unchanged
    assert kept.level == "bad"
    assert "not what they were" in kept.verdict


def test_a_soft_prompt_that_says_nothing_moves_nothing() -> None:
    """No soft prompt at all would have a divergence of 0; the bare model beside itself has."""
    on = model()
    judged = evaluate(on, [soft_prompt_arm(soft_prompt(on, 1), name="one")], ROWS, target="label", options=EvaluationOptions(resamples=100))
    (kept,) = judged.knowledge
    assert kept.unchanged
    assert kept.divergence > 0.1
    assert kept.arm == "one"


def test_neutral_texts_are_twenty_sentences_and_the_notes_beside_them_are_not_read() -> None:
    texts = neutral_texts()
    assert len(texts) == 20
    assert all(text.endswith(".") and not text.startswith("#") for text in texts)


def test_a_model_without_a_tokenizer_is_told() -> None:
    on = model()
    on.tokenizer = None
    with pytest.raises(ChatTemplateError, match="without a tokenizer"):
        BareModel.look(on)
