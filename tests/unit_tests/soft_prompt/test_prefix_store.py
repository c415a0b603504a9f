"""PrefixStore keeps compiled soft prompts within its budget, and never mixes two of them up."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from langchain_softprompt.errors import ModelMismatchError
from langchain_softprompt.prefix import PrefixStore, compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import MultitaskPromptTuning
from tests.unit_tests.soft_prompt.peft_folders import HIDDEN, LAYERS, frozen
from tests.unit_tests.soft_prompt.test_compiling import HEADS, key_values, rows

ROW = compile_prefix(frozen("llama"), rows(1)).num_bytes


def test_the_bytes_of_a_prefix_are_those_of_its_keys_and_values() -> None:
    assert ROW == LAYERS * 2 * HEADS * 16 * 4
    assert compile_prefix(frozen("llama"), rows(5)).num_bytes == 5 * ROW


def test_the_least_recently_used_goes_first_when_the_bytes_are_spent() -> None:
    store = PrefixStore(frozen("llama"), max_bytes=8 * ROW)
    first, second, third = rows(2), rows(3), rows(4)
    assert [store.get(prompt)[1] for prompt in (first, second)] == [False, False]
    assert store.get(first)[1]  # now `second` is the oldest
    assert not store.get(third)[1]
    assert (len(store), store.num_bytes) == (2, 6 * ROW)
    assert [store.get(prompt)[1] for prompt in (first, third)] == [True, True]
    assert not store.get(second)[1]


def test_what_is_kept_is_what_was_compiled() -> None:
    store = PrefixStore(frozen("llama"), max_bytes=100 * ROW)
    prefix, _ = store.get(rows(3))
    again, found = store.get(rows(3))
    assert found
    assert again is prefix
    assert torch.equal(prefix.layers[1][0], compile_prefix(frozen("llama"), rows(3)).layers[1][0])


def test_a_prefix_larger_than_the_budget_is_handed_out_and_pushes_nothing_out() -> None:
    store = PrefixStore(frozen("llama"), max_bytes=4 * ROW)
    store.get(rows(2))
    prefix, found = store.get(rows(5))
    assert (prefix.length, found) == (5, False)
    assert (len(store), store.num_bytes) == (1, 2 * ROW)
    assert store.get(rows(2))[1]


def test_a_store_without_a_budget_keeps_nothing() -> None:
    store = PrefixStore(frozen("llama"), max_bytes=0)
    assert store.get(rows(2))[0].length == 2
    assert len(store) == 0


def test_a_refused_soft_prompt_is_not_kept_and_pushes_nothing_out() -> None:
    store = PrefixStore(frozen("llama"), max_bytes=4 * ROW)
    store.get(rows(2))
    for _ in range(2):
        with pytest.raises(ModelMismatchError):
            store.get(rows(3, HIDDEN + 1))
    assert len(store) == 1


def test_opting_in_to_another_model_opens_no_door_for_requests_that_did_not() -> None:
    store = PrefixStore(frozen("llama"), max_bytes=100 * ROW)
    foreign = rows(made_for="b" * 64)
    store.get(foreign, allow_other_model=True)
    with pytest.raises(ModelMismatchError):
        store.get(foreign)
    store.get(rows())  # the same numbers without a manifest
    with pytest.raises(ModelMismatchError):
        store.get(foreign)


def test_the_same_numbers_in_another_layout_are_checked_anew() -> None:
    """A prefix for three layers, kept, must not be served for a soft prompt that says it has one."""
    store = PrefixStore(frozen("llama"), max_bytes=100 * ROW)
    right = key_values()
    store.get(right)
    wrong = replace(right, config=right.config.model_copy(update={"num_layers": 1, "token_dim": 96}))
    with pytest.raises(ModelMismatchError, match="number of layers"):
        store.get(wrong)


def test_the_tasks_of_one_multitask_prompt_are_kept_apart() -> None:
    config = MultitaskPromptTuning(
        peft_type="MULTITASK_PROMPT_TUNING", task_type="CAUSAL_LM", num_virtual_tokens=4, token_dim=HIDDEN, num_tasks=2, num_ranks=1
    )
    numbers = torch.Generator().manual_seed(0)
    shapes = {"prompt_embeddings": (4, HIDDEN), "prefix_task_cols": (2, 4, 1), "prefix_task_rows": (2, 1, HIDDEN)}
    tensors = {name: torch.randn(shape, generator=numbers) for name, shape in shapes.items()}
    store = PrefixStore(frozen("llama"), max_bytes=100 * ROW)
    one, two = (store.get(SoftPrompt(config, tensors, task=task)) for task in (0, 1))
    assert (one[1], two[1]) == (False, False)
    assert not torch.equal(one[0].layers[0][0], two[0].layers[0][0])
