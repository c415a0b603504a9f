"""Row stores: each row gets the logits it would get alone, whoever joins and leaves, and its own cache comes back whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from langchain_softprompt.decode import RowStore, new_row_store
from langchain_softprompt.decode.merged import MergedRows
from langchain_softprompt.decode.separate import SeparateRows
from langchain_softprompt.prefix import compile_prefix
from tests.reading import prefill
from tests.unit_tests.engine.tiny import MERGED, SEPARATE, build, embedding_prompt, generate, shared, tokens, without_prefixes

# Batched and single matrix products round differently; logits here are of size 1 to 10.
TOLERANCE = 2e-5


def stepped(store: RowStore, tokens: dict[int, int]) -> dict[int, Tensor]:
    """The logits of each row after a step that nothing goes wrong in."""
    outcome = store.step(tokens)
    assert not outcome.failed
    return {row: logits[place] for rows, logits in outcome.answered for place, row in enumerate(rows)}


class _Alone:
    """One row, read and decoded by itself."""

    def __init__(self, family: str, length: int, virtual: int) -> None:
        self.model = shared(family)
        prefix = compile_prefix(self.model, embedding_prompt(virtual, seed=length)) if virtual else None
        self.cache, self.logits = prefill(self.model, prefix, tokens(length, seed=length))
        self.length = length + virtual

    def step(self, token: int) -> Tensor:
        self.logits = self.model.forward(input_ids=torch.tensor([[token]]), cache=self.cache, past_length=self.length)
        self.length += 1
        return self.logits


@pytest.mark.parametrize("family", MERGED + SEPARATE)
@torch.inference_mode()
def test_rows_keep_their_own_logits_while_others_join_and_leave(family: str) -> None:
    store = new_row_store(shared(family))
    plan = {0: (3, 0), 1: (21, 4), 2: (9, 13), 3: (1, 2)}
    alone: dict[int, _Alone] = {}
    joins, leaves = {0: [0], 2: [1, 2], 5: [3]}, {7: [1], 9: [0, 2]}
    for step in range(12):
        for row in joins.get(step, []):
            alone[row] = _Alone(family, *plan[row])
            joined = _Alone(family, *plan[row])
            store.add(row, joined.cache, joined.length)
        for row in leaves.get(step, []):
            store.remove(row)
            del alone[row]
        chosen = {row: int(one.logits.argmax()) for row, one in alone.items()}
        logits = stepped(store, chosen)
        assert len(store) == len(alone)
        for row, token in chosen.items():
            torch.testing.assert_close(logits[row], alone[row].step(token), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", MERGED)
@torch.inference_mode()
def test_a_rows_own_cache_can_be_taken_out_of_the_merged_one(family: str) -> None:
    store = MergedRows(shared(family))
    rows = {0: _Alone(family, 5, 0), 1: _Alone(family, 11, 6)}
    store.add(0, _Alone(family, 5, 0).cache, 5)
    store.add(1, _Alone(family, 11, 6).cache, 17)
    assert store.row_cache(1).get_seq_length() == 17
    for _ in range(3):
        store.step({0: 3, 1: 4})
        rows[0].step(3)
        rows[1].step(4)
    for row, one in rows.items():
        taken = store.row_cache(row)
        assert taken.get_seq_length() == one.length
        for ours, theirs in zip(taken.layers, one.cache.layers, strict=True):
            torch.testing.assert_close(ours.keys, theirs.keys, atol=TOLERANCE, rtol=0)
            torch.testing.assert_close(ours.values, theirs.values, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_rows_join_leave_and_step_within_the_same_buffers() -> None:
    store = MergedRows(shared("llama"), max_rows=4)
    for row in range(3):
        one = _Alone("llama", 4 + row, 0)
        store.add(row, one.cache, one.length)
    store.step({0: 1, 1: 2, 2: 3})
    cache = store._cache
    store.remove(1)
    one = _Alone("llama", 12, 0)
    store.add(3, one.cache, one.length)
    store.step({0: 1, 2: 2, 3: 3})
    assert store._cache is cache
    assert [store.length(row) for row in (0, 2, 3)] == [6, 8, 13]


@torch.inference_mode()
def test_nan_in_one_row_does_not_reach_the_others() -> None:
    store, good, bad = MergedRows(shared("llama")), _Alone("llama", 6, 0), _Alone("llama", 9, 0)
    for layer in bad.cache.layers:
        layer.values.fill_(torch.nan)
    store.add(0, good.cache, good.length)
    store.add(1, bad.cache, bad.length)
    for _ in range(2):
        logits = stepped(store, {0: 5, 1: 5})
        assert torch.isnan(logits[1]).all()
        assert torch.isfinite(logits[0]).all()
    store.remove(1)
    assert torch.isfinite(stepped(store, {0: 5})[0]).all()


def test_a_cache_that_is_more_than_plain_keys_and_values_is_refused() -> None:
    mistral = without_prefixes(build("mistral"))
    cache, _ = prefill(mistral, None, tokens(4))
    with pytest.raises(TypeError, match="layer 0 is a DynamicSlidingWindowLayer"):
        MergedRows(mistral).add(0, cache, 4)


@pytest.mark.parametrize("family", SEPARATE)
def test_models_with_recurrent_state_get_one_native_cache_a_row(family: str) -> None:
    assert isinstance(new_row_store(shared(family)), SeparateRows)


@pytest.mark.parametrize("family", MERGED)
def test_attention_models_get_the_merged_store(family: str) -> None:
    assert isinstance(new_row_store(shared(family)), MergedRows)


@torch.inference_mode()
def test_a_soft_prompt_read_in_one_pass_gives_the_logits_of_the_compiled_prefix() -> None:
    one_pass, compiled = without_prefixes(build("llama")), shared("llama")
    prompt = embedding_prompt(5)
    _, once = prefill(one_pass, compile_prefix(one_pass, prompt), tokens(7))
    _, continued = prefill(compiled, compile_prefix(compiled, prompt), tokens(7))
    torch.testing.assert_close(once, continued, atol=TOLERANCE, rtol=0)


def test_the_tiny_models_say_different_things_to_different_prompts() -> None:
    """Guards the comparisons of this folder: models that always repeat one token would make them empty."""
    for family in MERGED + SEPARATE:
        said = [generate(shared(family), tokens(6, seed), new=12) for seed in range(4)]
        assert len({tuple(ids) for ids in said}) == 4
        assert len(set(said[0])) > 3
