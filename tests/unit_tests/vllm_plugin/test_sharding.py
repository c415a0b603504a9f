"""Workers that share a model out hold all of a soft prompt together, each head where the model has it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langchain_softprompt.vllm_plugin.sharding import ShapeMismatchError, cast_finite, heads_of_rank, layer_key_values


@given(share=st.integers(1, 8), ranks=st.integers(1, 8))
def test_workers_with_fewer_than_all_heads_hold_each_head_once_and_in_order(share: int, ranks: int) -> None:
    total = share * ranks
    held = [head for rank in range(ranks) for head in range(total)[heads_of_rank(total, rank, ranks)]]
    assert held == list(range(total))


@given(total=st.integers(1, 8), times=st.integers(1, 8))
def test_more_workers_than_heads_hold_copies_of_neighbouring_ones(total: int, times: int) -> None:
    held = [head for rank in range(total * times) for head in range(total)[heads_of_rank(total, rank, total * times)]]
    assert held == [head for head in range(total) for _ in range(times)]


@pytest.mark.parametrize(("total", "ranks"), [(3, 2), (2, 3), (8, 12)])
def test_heads_that_can_not_be_shared_out_evenly_are_refused(total: int, ranks: int) -> None:
    with pytest.raises(ShapeMismatchError, match=str(total)):
        heads_of_rank(total, 0, ranks)


def test_a_layers_keys_and_values_are_those_of_its_heads() -> None:
    whole = torch.randn(5, 3, 2, 4, 8)
    keys, values = layer_key_values(whole, 1, slice(2, 4), held=2, width=8)
    assert torch.equal(keys, whole[:, 1, 0, 2:4])
    assert torch.equal(values, whole[:, 1, 1, 2:4])


@pytest.mark.parametrize(("layer", "held", "width"), [(3, 2, 8), (0, 1, 8), (0, 2, 16)])
def test_a_soft_prompt_of_another_shape_is_refused(layer: int, held: int, width: int) -> None:
    with pytest.raises(ShapeMismatchError):
        layer_key_values(torch.zeros(5, 3, 2, 4, 8), layer, slice(0, 2), held=held, width=width)


def test_numbers_that_overflow_in_the_servers_dtype_are_refused_before_they_reach_a_cache_block() -> None:
    huge = torch.tensor([1e30])
    assert torch.isfinite(cast_finite(huge, torch.bfloat16)).all()
    with pytest.raises(ShapeMismatchError, match="float16"):
        cast_finite(huge, torch.float16)
