"""The written-out forward says what transformers' own forward says, and steps back where it does not fit."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.llama import LlamaForward
from langchain_softprompt.frozen_model.passes import RowPart, TransformersPasses
from tests.llamas import FAMILIES, WINDOW, build

# Two ways of adding the same float32 numbers up, over two layers; logits here are of size 1 to 10.
TOLERANCE = 3e-5


def text(length: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 96, (1, length), generator=torch.Generator().manual_seed(seed))


def expected(model: PreTrainedModel, ids: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=ids).logits[0]
    return logits


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_prompt_read_at_once_or_in_parts_has_the_logits_of_transformers(family: str) -> None:
    """Past the window where there is one."""
    model = build(family)
    forward = LlamaForward.of(model)
    assert forward is not None
    ids = text(3 * WINDOW)
    wanted = expected(model, ids)
    for size in (ids.shape[1], 5, 1):
        cache = ColumnCache(1, ids.shape[1])
        for start in range(0, ids.shape[1], size):
            part = ids[:, start : start + size]
            (found,) = forward.read([RowPart(cache, start, part)])
            assert found is not None
            torch.testing.assert_close(found, wanted[start + part.shape[1] - 1], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_prompts_read_in_one_pass_and_rows_that_step_together_keep_their_own_logits(family: str) -> None:
    """Three prompts of different length, one of them in its middle, one by embeddings; then steps of all three rows."""
    model = build(family)
    forward = LlamaForward.of(model)
    assert forward is not None
    texts = [text(length, length) for length in (2 * WINDOW, 3, 9)]
    caches = [ColumnCache(1, ids.shape[1]) for ids in texts]
    assert forward.read([RowPart(caches[0], 0, texts[0][:, :7], wants_logits=False)]) == [None]
    parts = [
        RowPart(caches[0], 7, texts[0][:, 7:]),
        RowPart(caches[1], 0, texts[1], wants_logits=False),
        RowPart(caches[2], 0, inputs_embeds=model.get_input_embeddings()(texts[2])),
    ]
    first, nothing, third = forward.read(parts)
    assert nothing is None
    for found, ids in ((first, texts[0]), (third, texts[2])):
        assert found is not None
        torch.testing.assert_close(found, expected(model, ids)[-1], atol=TOLERANCE, rtol=0)
    longest = 2 * WINDOW
    rows = ColumnCache(3, longest + WINDOW)
    for slot, (cache, ids) in enumerate(zip(caches, texts, strict=True)):
        for index, (keys, values) in cache.read(0, 0, ids.shape[1]).items():
            rows.write(index, slot, longest - ids.shape[1], keys, values)
        rows.clear(slot, 0, longest - ids.shape[1])
    rows.window.end = longest
    for step in range(WINDOW):
        token = text(3, 50 + step).T
        logits = forward.step(token, rows, [ids.shape[1] for ids in texts])
        rows.window.end += 1
        texts = [torch.cat([ids, one[None]], dim=1) for ids, one in zip(texts, token, strict=True)]
        for found, ids in zip(logits, texts, strict=True):
            torch.testing.assert_close(found, expected(model, ids)[-1], atol=TOLERANCE, rtol=0)


def test_positions_that_move_with_the_length_are_left_to_transformers() -> None:
    moving = build("llama", rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0})
    assert LlamaForward.of(moving) is None
    assert isinstance(FrozenModel.wrap(moving).passes, TransformersPasses)


def test_another_activation_is_left_to_transformers() -> None:
    assert LlamaForward.of(build("llama", hidden_act="gelu")) is None


def test_a_model_of_this_shape_is_read_by_our_own_forward_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        model = FrozenModel.wrap(build("llama"))
    assert isinstance(model.passes, LlamaForward)
    assert "read by our own forward" in caplog.text


def test_a_model_that_only_looks_the_part_is_read_by_transformers_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Its second layer does something of its own on top."""
    model = build("llama")
    model.get_submodule("model.layers.1").register_forward_hook(lambda _, __, hidden: hidden + 0.5)
    with caplog.at_level(logging.WARNING):
        wrapped = FrozenModel.wrap(model)
    assert isinstance(wrapped.passes, TransformersPasses)
    assert "ours differs by" in caplog.text


def test_a_pass_that_fails_leaves_every_cache_as_it_was() -> None:
    model = build("llama")
    forward = LlamaForward.of(model)
    assert forward is not None
    ids, other = text(8), text(5, 1)
    cache, second = ColumnCache(1, 8), ColumnCache(1, 5)
    with torch.inference_mode():
        forward.read([RowPart(cache, 0, ids[:, :4])])
        layer = forward._layers[1]
        forward._layers[1] = None  # type: ignore[call-overload]
        with pytest.raises(AttributeError):
            forward.read([RowPart(cache, 4, ids[:, 4:]), RowPart(second, 0, other)])
        forward._layers[1] = layer
        first, _ = forward.read([RowPart(cache, 4, ids[:, 4:]), RowPart(second, 0, other)])
    assert first is not None
    torch.testing.assert_close(first, expected(model, ids)[-1].detach(), atol=TOLERANCE, rtol=0)
