"""Nearest words: found where they were put, never passed off as an explanation."""

from __future__ import annotations

import pytest
import torch

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.inspection.nearest import NOTE, Nearest, find_nearest
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.testing import tiny_model
from tests.tiny import frozen
from tests.unit_tests.inspection.looking import EXAMPLES, logits_by_hand, of_key_values, of_rows, random_key_values, text_prefix
from tests.unit_tests.soft_prompt.peft_folders import frozen as without_tokenizer

IDS = [40, 7, 72, 33]


def _words(model: FrozenModel) -> list[str]:
    assert model.tokenizer is not None
    return [str(model.tokenizer.decode([token])) for token in IDS]


def _found(model: FrozenModel, soft_prompt: object) -> Nearest:
    found = find_nearest(model, soft_prompt)  # type: ignore[arg-type]
    assert isinstance(found, Nearest)
    return found


def test_rows_that_are_words_of_the_vocabulary_are_found_to_be_these() -> None:
    model = tiny_model()
    weight = model.model.get_input_embeddings().weight.detach()
    found = _found(model, of_rows(weight[IDS] * 2))
    assert [near[0].token for near in found.tokens] == _words(model)
    assert [near[0].cosine for near in found.tokens] == pytest.approx([1] * 4, abs=1e-5)
    cosines = torch.nn.functional.cosine_similarity(weight[IDS[0]][None], weight, dim=1)
    assert [one.cosine for one in found.tokens[0]] == pytest.approx(cosines.topk(5).values.tolist(), abs=1e-5)


@pytest.mark.parametrize("family", ["Llama", "Gemma2"])
def test_the_first_layers_values_of_a_text_are_found_to_be_its_words(family: str) -> None:
    model = frozen(family)
    found = _found(model, of_key_values(text_prefix(model, IDS)))
    assert [near[0].token for near in found.tokens] == _words(model)
    assert [near[0].cosine for near in found.tokens] == pytest.approx([1] * 4, abs=1e-4)
    assert "first layer" in found.of


def test_where_values_depend_on_the_position_there_is_nothing_to_compare_with() -> None:
    model = frozen("GPT2")
    assert "depend on the position" in str(find_nearest(model, of_key_values(text_prefix(model, IDS))))


def test_without_a_tokenizer_there_are_no_words() -> None:
    model = without_tokenizer("llama")
    assert "without a tokenizer" in str(find_nearest(model, random_key_values(model)))


def test_the_search_leaves_the_model_as_it_was() -> None:
    model = tiny_model()
    soft_prompt = random_key_values(model)
    prefix = compile_prefix(model, soft_prompt)
    before = logits_by_hand(model, prefix, EXAMPLES[0])
    find_nearest(model, soft_prompt)
    assert torch.equal(logits_by_hand(model, prefix, EXAMPLES[0]), before)


def test_it_always_says_with_its_source_that_it_is_no_explanation() -> None:
    model = tiny_model()
    found = _found(model, random_key_values(model))
    assert found.note == NOTE
    assert NOTE in found.reading
    assert NOTE.startswith("Not an explanation")
    assert "2112.08348" in NOTE
