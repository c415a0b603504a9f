"""Influence: divergences are those of transformers' own logits, one row alone."""

from __future__ import annotations

import pytest
import torch

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.inspection.answers import greedy_answers, spell
from langchain_softprompt.inspection.influence import divergences, measure_influence
from langchain_softprompt.inspection.samples import Sample, Samples
from langchain_softprompt.prefix import KVPrefix, TokenIds, compile_prefix, compile_segments
from langchain_softprompt.testing import tiny_model
from tests.unit_tests.inspection.looking import EXAMPLES, logits_by_hand, random_key_values, random_rows

SAMPLES = Samples(tuple(Sample(f"text {number}", example.text) for number, example in enumerate(EXAMPLES)), "rows")
ANSWERS = [example.completion for example in EXAMPLES]


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


def _kl(model: FrozenModel, one: KVPrefix | None, other: KVPrefix | None, number: int) -> torch.Tensor:
    here, there = (logits_by_hand(model, prefix, EXAMPLES[number]).log_softmax(dim=-1) for prefix in (one, other))
    return torch.nn.functional.kl_div(there, here, reduction="none", log_target=True).sum(dim=-1)


@pytest.mark.parametrize("kind", ["keys and values", "embeddings"])
def test_divergences_on_and_off_are_those_of_transformers_own_logits(model: FrozenModel, kind: str) -> None:
    soft_prompt = random_rows(model) if kind == "embeddings" else random_key_values(model)
    prefix, hard = compile_prefix(model, soft_prompt), compile_segments(model, [TokenIds([3, 50, 7])])
    found = measure_influence(model, prefix, SAMPLES, ANSWERS, [(1,), (2,), (3,)], hard_prompt=hard)
    for number, one in enumerate(found.inputs):
        expected = _kl(model, prefix, None, number)
        assert one.first == pytest.approx(float(expected[0]), abs=1e-4)
        assert one.along == pytest.approx(float(expected.mean()), abs=1e-4)
        assert one.from_hard_prompt == pytest.approx(float(_kl(model, prefix, hard, number).mean()), abs=1e-4)
    assert found.along == pytest.approx(sum(one.along for one in found.inputs) / 3)
    assert found.first > 0.01


def test_the_likeliest_first_tokens_are_named_with_their_probabilities(model: FrozenModel) -> None:
    prefix = compile_prefix(model, random_key_values(model))
    assert model.tokenizer is not None
    one = measure_influence(model, prefix, SAMPLES, ANSWERS, ANSWERS).inputs[0]
    spread = logits_by_hand(model, prefix, EXAMPLES[0])[0].softmax(dim=-1)
    top = spread.topk(3)
    assert [likely.token for likely in one.on] == [model.tokenizer.decode([token]) for token in top.indices.tolist()]
    assert [likely.probability for likely in one.on] == pytest.approx(top.values.tolist(), abs=1e-5)
    assert one.from_hard_prompt is None
    assert one.same_answer


def test_a_soft_prompt_that_is_the_hard_prompt_is_no_way_from_it(model: FrozenModel) -> None:
    hard = compile_segments(model, [TokenIds([3, 50, 7])])
    found = measure_influence(model, hard, SAMPLES, ANSWERS, ANSWERS, hard_prompt=hard)
    assert found.from_hard_prompt == pytest.approx(0, abs=1e-9)


def test_probabilities_of_zero_take_no_part_in_a_divergence() -> None:
    here = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64).log()
    there = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64).log()
    assert divergences(here, there).item() == pytest.approx(0.5 * torch.log(torch.tensor(2.0)).item())


def test_answers_are_what_transformers_own_greedy_decoding_writes(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model)
    prefix = compile_prefix(model, soft_prompt)
    told: list[int] = []
    asked = [(EXAMPLES[0].text, soft_prompt), (EXAMPLES[0].text, None)]
    with_it, without = greedy_answers(model, asked, max_tokens=6, on_answer=lambda: told.append(1))
    for answer, started in ((with_it, prefix), (without, None)):
        ids = torch.tensor([EXAMPLES[0].text])
        length = started.length if started else 0
        given = {"past_key_values": started.to_cache(model)} if started else {}
        expected = model.model.generate(
            input_ids=ids, attention_mask=torch.ones(1, length + ids.shape[1], dtype=torch.long), max_new_tokens=6, do_sample=False, **given
        )[0, ids.shape[1] :]
        assert list(answer) == expected.tolist()
        assert spell(model, answer) == model.tokenizer.decode(expected.tolist()).strip()  # type: ignore[union-attr]
    assert len(told) == 2
