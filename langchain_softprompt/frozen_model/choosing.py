"""Which passes serve this model? A written-out forward where it says what transformers' says, else transformers' own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache

from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model.branches import Branches, attention_windows
from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.llama import LlamaForward
from langchain_softprompt.frozen_model.passes import Passes, RowPart, TransformersPasses

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_TEXTS = (11, 4)
# Allowed difference as a share of the logits' spread. Two ways of reading round differently, with eight bits a good deal.
_SHARES = {torch.float32: 1e-3}
_HALF_PRECISION_SHARE = 0.15
_QUANTIZED_SHARE = 0.5


@torch.inference_mode()
def choose_passes(model: PreTrainedModel, *, is_plain: bool, is_quantized: bool = False) -> Passes:
    """Compare a written-out forward with transformers' on random text, and take it when they agree.

    Args:
        model: The transformers model, its weights laid out as they will be served.
        is_plain: Whether it is served from plain keys and values.
        is_quantized: Whether its weights are quantized.

    Raises:
        FrozenModelError: Transformers' own forward does not run.
    """
    name = type(model).__name__
    ordinary = TransformersPasses(model, is_plain=is_plain)
    try:
        expected = _probe(model, ordinary) if is_plain else _read(model, ordinary)
    except Exception as error:
        msg = f"{name} can't be served: its forward fails ({error})."
        raise FrozenModelError(msg) from error
    if not is_plain:
        return ordinary
    try:
        written = LlamaForward.of(model)
        found = _probe(model, written) if written is not None else expected
    except Exception as error:  # noqa: BLE001 - a model that only looks the part raises almost anything here.
        logger.warning("%s is read by transformers' own forward: its shape was not the one expected (%s).", name, error)
        return ordinary
    if written is None:
        logger.info("%s is read by transformers' own forward.", name)
        return ordinary
    share = _QUANTIZED_SHARE if is_quantized else _SHARES.get(model.dtype, _HALF_PRECISION_SHARE)
    difference, allowed = (found - expected).square().mean().sqrt().item(), share * expected.std().item()
    if not difference <= allowed:
        logger.warning("%s is read by transformers' own forward: ours differs by %.2e, allowed %.2e.", name, difference, allowed)
        return ordinary
    logger.info("%s is read by our own forward: difference %.2e, allowed %.2e.", name, difference, allowed)
    return written


@torch.inference_mode()
def reads_branches(model: PreTrainedModel, passes: Passes, *, is_quantized: bool = False) -> bool:
    """Whether several continuations of a row can be read as a tree in one pass; found out by trying, never an error.

    A long branch stands before a short one, so that a model that goes by columns where it should go by positions differs by far.

    Args:
        model: The transformers model, served from plain keys and values.
        passes: How it is read.
        is_quantized: Whether its weights are quantized.
    """
    name = type(model).__name__
    try:
        if isinstance(passes, TransformersPasses) and attention_windows(model.config.get_text_config()) is None:
            logger.info("%s reads continuations one by one: its configuration does not say how far its layers see.", name)
            return False
        prompt, branch = _texts(model)
        other, past = prompt[:, 2:6], prompt.shape[1]
        cache = ColumnCache(1, past + 2 * past + other.shape[1])
        passes.read([RowPart(cache, 0, prompt, wants_logits=False)])
        expected = []
        long = torch.cat([prompt, branch], dim=1)
        for continuation in (long, torch.cat([branch[:, :1], other], dim=1)):
            cache.window.end = past
            expected.append(cast("Tensor", passes.read([RowPart(cache, past, continuation, wants_all=True)])[0]))
        cache.window.end = past
        shape = _two_branches(past, long.shape[1], 1 + other.shape[1])
        tree = torch.cat([long, branch[:, :1], other], dim=1)
        part = RowPart(cache, past, tree, wants_all=True, branches=Branches(*(one.to(model.device) for one in shape)))
        found, whole = cast("Tensor", passes.read([part])[0]).float(), torch.cat(expected).float()
    except Exception as error:  # noqa: BLE001 - whatever a model raises here means "not in this way".
        logger.info("%s reads continuations one by one: %s", name, error)
        return False
    share = _QUANTIZED_SHARE if is_quantized else _SHARES.get(model.dtype, _HALF_PRECISION_SHARE)
    difference, allowed = (found - whole).square().mean(dim=-1).sqrt().max().item(), share * whole.std().item()
    logger.info("%s, continuations as a tree: difference %.2e, allowed %.2e.", name, difference, allowed)
    return difference <= allowed


def _two_branches(past: int, first: int, second: int) -> tuple[Tensor, Tensor]:
    """Positions and sight of two branches of such lengths that share nothing but what stands before them."""
    positions = torch.cat([torch.arange(first), torch.arange(second)]) + past
    seen = torch.ones(first + second, past + first + second, dtype=torch.bool).tril(past)
    seen[first:, past : past + first] = False
    return positions, seen


def _read(model: PreTrainedModel, passes: Passes) -> Tensor:
    (logits,) = passes.read([RowPart(DynamicCache(config=model.config), 0, _texts(model)[0])])
    return cast("Tensor", logits)


def _texts(model: PreTrainedModel) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    embedding: Any = model.get_input_embeddings()
    return [torch.randint(0, embedding.weight.shape[0], (1, length), generator=generator).to(model.device) for length in _TEXTS]


def _probe(model: PreTrainedModel, passes: Passes) -> Tensor:
    """Two prompts, one of them in two parts, and a step of both rows; all logits."""
    texts = _texts(model)
    caches = [ColumnCache(1, length) for length in _TEXTS]
    middle = texts[0].shape[1] // 2
    firsts = [RowPart(caches[0], 0, texts[0][:, :middle]), RowPart(caches[1], 0, texts[1])]
    logits = passes.read(firsts) if passes.reads_together else [passes.read([part])[0] for part in firsts]
    logits += passes.read([RowPart(caches[0], middle, texts[0][:, middle:])])
    rows = ColumnCache(2, max(_TEXTS) + 1)
    for slot, (cache, length) in enumerate(zip(caches, _TEXTS, strict=True)):
        rows.copy_columns(cache, (0, 0), (slot, max(_TEXTS) - length), length)
        rows.clear(slot, 0, max(_TEXTS) - length)
    rows.window.end = max(_TEXTS)
    stepped = passes.step(torch.cat([text[:, :1] for text in texts]), rows, list(_TEXTS))
    return torch.cat([torch.stack([one for one in logits if one is not None]), stepped]).float()


__all__ = ["choose_passes", "reads_branches"]
