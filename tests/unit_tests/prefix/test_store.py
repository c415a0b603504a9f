"""PrefixStore finds the longest head that was kept, within its budget, and never mixes two of them up."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from langchain_softprompt.prefix import FoundHead, compile_prefix
from langchain_softprompt.prefix.store import SHORTEST_RUN
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import MultitaskPromptTuning
from tests.unit_tests.prefix.heads import (
    POSITION,
    assert_found,
    assert_same,
    joined,
    keep,
    name_of,
    new_store,
    reading,
    soft_part,
    text_part,
)
from tests.unit_tests.soft_prompt.peft_folders import HIDDEN, LAYERS, frozen
from tests.unit_tests.soft_prompt.test_compiling import HEADS, key_values, rows

NOTHING = FoundHead()
ROOM = 10_000 * POSITION
TEXT = tuple(range(40))


def _lengths(found: FoundHead) -> tuple[int, int]:
    return found.virtual_tokens, found.text_tokens


def test_the_bytes_of_a_prefix_are_those_of_its_keys_and_values() -> None:
    one = compile_prefix(frozen("llama"), rows(1)).num_bytes
    assert one == LAYERS * 2 * HEADS * 16 * 4
    assert compile_prefix(frozen("llama"), rows(5)).num_bytes == 5 * one
    assert soft_part("a", 5).num_bytes == 5 * POSITION


def test_the_least_recently_used_goes_first_when_the_bytes_are_spent() -> None:
    store = new_store(8 * POSITION)
    first, second, third = rows(2), rows(3), rows(4)
    for prompt in (first, second):
        keep(store, prompt)
    assert _lengths(store.find(first, TEXT)) == (2, 0)  # now `second` is the oldest
    keep(store, third)
    assert (len(store), store.num_bytes) == (2, 6 * POSITION)
    assert [_lengths(store.find(prompt, TEXT)) for prompt in (first, second, third)] == [(2, 0), (0, 0), (4, 0)]


def test_keeping_again_is_a_use_too() -> None:
    store = new_store(5 * POSITION)
    for prompt in (rows(2), rows(3), rows(2), rows(1)):
        keep(store, prompt)
    assert [_lengths(store.find(prompt, TEXT)) for prompt in (rows(2), rows(3), rows(1))] == [(2, 0), (0, 0), (1, 0)]


def test_what_is_found_is_what_was_kept() -> None:
    store = new_store(ROOM)
    compiled, text = compile_prefix(frozen("llama"), rows(3)), compile_prefix(frozen("llama"), rows(40))
    store.keep(rows(3), TEXT, soft=compiled, text=text.cut)
    found = store.find(rows(3), [*TEXT, 7])
    assert found.parts[0] is compiled
    assert_same(joined(found.parts), joined([compiled, text]))


def test_a_prefix_larger_than_the_budget_is_not_kept_and_pushes_nothing_out() -> None:
    store = new_store(20 * POSITION)
    keep(store, rows(2))
    keep(store, rows(21))
    keep(store, rows(1), TEXT)  # the soft prompt fits, its text does not
    keep(store, None, TEXT)
    assert store.num_bytes == 3 * POSITION
    assert store.find(rows(21), TEXT) == NOTHING
    assert [_lengths(store.find(prompt, TEXT)) for prompt in (rows(2), rows(1), None)] == [(2, 0), (1, 0), (0, 0)]


def test_text_that_fits_only_without_its_soft_prompt_is_not_kept() -> None:
    store = new_store(41 * POSITION)
    keep(store, rows(2), TEXT)
    assert _lengths(store.find(rows(2), TEXT)) == (2, 0)
    keep(store, rows(1), TEXT)
    assert _lengths(store.find(rows(1), [*TEXT, 7])) == (1, 40)
    assert store.find(rows(2), TEXT) == NOTHING


def test_a_store_without_a_budget_keeps_nothing() -> None:
    store = new_store(0)
    for prompt in (rows(2), None):
        keep(store, prompt, TEXT)
        assert _lengths(store.find(prompt, TEXT)) == (0, 0)
    assert store.num_bytes == 0


def test_of_a_soft_prompt_that_was_refused_nothing_is_kept() -> None:
    """The engine has no compiled form to give then."""
    store = new_store(ROOM)
    store.keep(rows(2), TEXT, soft=None, text=reading("anything", TEXT))
    assert (store.find(rows(2), TEXT), len(store)) == (NOTHING, 0)


def test_a_soft_prompt_that_went_out_comes_back_with_the_next_request_that_holds_it() -> None:
    store = new_store(4 * POSITION)
    for prompt in (rows(2), rows(3), rows(2)):
        keep(store, prompt)
    assert _lengths(store.find(rows(2), TEXT)) == (2, 0)


def test_opting_in_to_another_model_opens_no_door_for_requests_that_did_not() -> None:
    store = new_store(ROOM)
    foreign = rows(made_for="b" * 64)
    keep(store, foreign, TEXT, opt_in=True)
    keep(store, rows(), TEXT)  # the same numbers without a manifest
    assert foreign.content_hash == rows().content_hash
    assert store.find(foreign, TEXT) == NOTHING
    assert _lengths(store.find(foreign, [*TEXT, 7], allow_other_model=True)) == (4, 40)


def test_the_same_numbers_in_another_layout_are_another_soft_prompt() -> None:
    """A prefix for three layers, kept, must not be served for a soft prompt that says it has one."""
    store = new_store(ROOM)
    right = key_values()
    keep(store, right, TEXT)
    wrong = replace(right, config=right.config.model_copy(update={"num_layers": 1, "token_dim": 96}))
    assert store.find(wrong, TEXT) == NOTHING


def test_the_tasks_of_one_multitask_prompt_are_kept_apart() -> None:
    config = MultitaskPromptTuning(
        peft_type="MULTITASK_PROMPT_TUNING", task_type="CAUSAL_LM", num_virtual_tokens=4, token_dim=HIDDEN, num_tasks=2, num_ranks=1
    )
    numbers = torch.Generator().manual_seed(0)
    shapes = {"prompt_embeddings": (4, HIDDEN), "prefix_task_cols": (2, 4, 1), "prefix_task_rows": (2, 1, HIDDEN)}
    tensors = {name: torch.randn(shape, generator=numbers) for name, shape in shapes.items()}
    store = new_store(ROOM)
    one, two = (SoftPrompt(config, tensors, task=task) for task in (0, 1))
    keep(store, one, TEXT)
    assert store.find(two, TEXT) == NOTHING
    keep(store, two, TEXT)
    for prompt in (one, two):
        assert_found(store.find(prompt, [*TEXT, 7]), prompt, [*TEXT, 7])


def test_the_same_text_under_two_soft_prompts_and_under_none_is_three_texts() -> None:
    store = new_store(ROOM)
    prompts = (rows(3), rows(4), None)
    keep(store, prompts[0], TEXT)
    assert [store.find(prompt, TEXT) for prompt in prompts[1:]] == [NOTHING, NOTHING]
    for prompt in prompts:
        keep(store, prompt, TEXT)
    assert store.num_bytes == (3 + 4 + 3 * 40) * POSITION
    for prompt in prompts:
        found = store.find(prompt, [*TEXT, 7])
        assert found.text_tokens == 40
        assert_found(found, prompt, [*TEXT, 7])


def test_one_token_is_always_left_to_read() -> None:
    """Without it there would be no logits to answer from."""
    store = new_store(ROOM)
    keep(store, None, TEXT)
    assert [store.find(None, TEXT[:length]).text_tokens for length in (1, 2, 40)] == [0, 1, 39]


@pytest.mark.parametrize("shared", [1, 20, 39])
def test_two_texts_share_their_head_wherever_they_part(shared: int) -> None:
    store = new_store(ROOM)
    other = (*TEXT[:shared], *range(50, 90))
    keep(store, rows(2), TEXT)
    keep(store, rows(2), other)
    assert store.num_bytes == (2 + 40 + 40) * POSITION
    for text in (TEXT, other):
        found = store.find(rows(2), [*text, 7])
        assert found.text_tokens == len(text)
        assert_found(found, rows(2), [*text, 7])
    between = [*TEXT[:shared], 99, 99]
    assert_found(store.find(rows(2), between), rows(2), between)
    assert store.find(rows(2), between).text_tokens == shared


def test_a_text_that_grows_is_kept_once() -> None:
    store = new_store(ROOM)
    for length in (20, 36, 60, 36, 20):
        keep(store, None, range(length))
    assert store.num_bytes == 60 * POSITION
    assert store.find(None, range(61)).text_tokens == 60


def test_a_tail_shorter_than_the_shortest_run_is_not_kept() -> None:
    store = new_store(ROOM)
    keep(store, rows(2), range(SHORTEST_RUN - 1))
    assert store.num_bytes == 2 * POSITION
    keep(store, rows(2), range(SHORTEST_RUN))
    keep(store, rows(2), range(2 * SHORTEST_RUN - 1))
    assert store.num_bytes == (2 + SHORTEST_RUN) * POSITION


def test_what_hangs_on_a_run_goes_before_it() -> None:
    """The head that many questions share outlives each of them, though it was read first."""
    store = new_store((2 + 40 + 2 * 20) * POSITION)
    questions = [(*TEXT, *[100 + number] * 20) for number in range(5)]
    for question in questions:
        keep(store, rows(2), question)
    assert [store.find(rows(2), [*question, 7]).text_tokens for question in questions] == [40, 40, 40, 60, 60]


def test_a_run_that_goes_leaves_the_soft_prompt_and_the_other_texts() -> None:
    store = new_store((2 + 40 + 20) * POSITION)
    keep(store, rows(2), TEXT)
    keep(store, rows(2), range(100, 120))
    keep(store, rows(2), range(200, 220))
    assert [store.find(rows(2), [*text, 7]).text_tokens for text in (TEXT, range(100, 120), range(200, 220))] == [0, 20, 20]
    assert store.find(rows(2), TEXT).virtual_tokens == 2


def test_what_is_kept_holds_no_more_memory_than_it_counts() -> None:
    """The engine hands over views of a row's buffers, and a run is cut in two when texts part: each part stands alone."""
    store = new_store(ROOM)
    keep(store, rows(2), TEXT)
    keep(store, rows(2), (*TEXT[:18], *range(50, 90)))
    tensors = [tensor for run in store._runs if run.token_ids for layer in run.prefix.layers for tensor in layer]
    assert len(tensors) == 3 * 2 * 2
    assert sum(tensor.untyped_storage().nbytes() for tensor in tensors) == (40 + 40) * POSITION
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(tensors)


def test_what_was_found_stays_whole_while_the_store_changes() -> None:
    store = new_store((2 + 40) * POSITION)
    keep(store, rows(2), TEXT)
    found = store.find(rows(2), [*TEXT, 7])
    keep(store, rows(2), (*TEXT[:18], *range(50, 62)))
    keep(store, rows(3), TEXT[:30])
    assert store.find(rows(2), [*TEXT, 7]).text_tokens == 0
    assert_same(joined(found.parts), joined([soft_part(name_of(rows(2)), 2), text_part(name_of(rows(2)), TEXT)]))


def test_a_head_that_many_texts_left_is_whole_again_once_they_are_gone() -> None:
    """One piece, then: a request that starts with it copies one piece for each layer, not hundreds."""
    head = tuple(range(200))
    store = new_store(420 * POSITION)
    keep(store, None, head)
    for place in range(20, 200, 20):
        keep(store, None, (*head[:place], *range(1000, 1000 + SHORTEST_RUN)))
    assert len(store.find(None, (*head, 1)).parts) == 10
    for other in range(4):
        store.find(None, (*head, 1))
        keep(store, None, tuple(range(2000 + 100 * other, 2050 + 100 * other)))
    found = store.find(None, (*head, 1))
    assert found.text_tokens == len(head)
    assert len(found.parts) < 3
    assert_found(found, None, (*head, 1))
