"""Which cache serves this model? Found out by trying, at load."""

from __future__ import annotations

import copy
import logging
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.one_row import read_row, step_rows

logger = logging.getLogger(__name__)

_VIRTUAL_TOKENS = 5
_TEXT_TOKENS = 9


class CacheUse(Enum):
    """How a model's rows are kept, fastest first.

    Attributes:
        SLOTTED: Plain keys and values: compiled prefixes are continued, rows decode together in one slotted cache.
        SNAPSHOT: The native cache of each row; a soft prompt's is copied and continued.
        REREAD: The native cache of each row; soft prompt and text are read in one pass for each request.
    """

    SLOTTED = "compiled prefixes are continued, rows decode together"
    SNAPSHOT = "native caches: a soft prompt's state is copied and continued, rows decode one by one"
    REREAD = "native caches: soft prompts are read again with each request, rows decode one by one"


@torch.inference_mode()
def choose_cache_use(model: PreTrainedModel, *, tolerance: float | None = None) -> CacheUse:
    """Compare one pass over `[soft rows | text]` with the several passes of serving, in each way from the fastest down.

    The allowed difference is a share of what the soft rows themselves do to the logits, so the test means the same
    on every model.

    Args:
        model: The transformers model.
        tolerance: That share; by default 0.1 % in float32, 15 % in half precision.

    Raises:
        FrozenModelError: The model can't be served in any way.
    """
    soft, text = _probes(model)
    share = tolerance if tolerance is not None else 1e-3 if model.dtype == torch.float32 else 0.15
    row = torch.cat([soft, text], dim=1)
    try:
        whole = read_row(model, inputs_embeds=row, cache=None, past_length=0, is_plain=False)
        allowed = share * _distance(whole, read_row(model, inputs_embeds=text, cache=None, past_length=0, is_plain=False))
    except Exception as error:
        msg = f"{type(model).__name__} can't be served: it does not run as transformers' causal language models do ({error})."
        raise FrozenModelError(msg) from error
    reasons = []
    for use, attempt in ((CacheUse.SLOTTED, _slotted), (CacheUse.SNAPSHOT, _snapshot), (CacheUse.REREAD, _reread)):
        try:
            difference = _distance(whole, attempt(model, soft, text))
        except Exception as error:  # noqa: BLE001 - whatever a model raises here means "not in this way".
            reasons.append(f"{use.name.lower()}: {error}")
            continue
        if difference <= allowed:
            log = logger.debug if use is CacheUse.SLOTTED else logger.warning
            tried = f" ({'; '.join(reasons)})" if reasons else ""
            log("Self-test on %s: difference %.2e, allowed %.2e: %s%s.", type(model).__name__, difference, allowed, use.value, tried)
            return use
        reasons.append(f"{use.name.lower()}: difference {difference:.2e}, allowed {allowed:.2e}")
    msg = (
        f"{type(model).__name__} can't be served: its cache does not carry what was read before ({'; '.join(reasons)}). "
        "Choose a model of another architecture."
    )
    raise FrozenModelError(msg)


def _slotted(model: PreTrainedModel, soft: Tensor, text: Tensor) -> Tensor:
    """Soft rows, then most of the text, then the last token in a step together with a shorter row."""
    cache, length = ColumnCache(2, _VIRTUAL_TOKENS + _TEXT_TOKENS), 0
    last = [text[:, -1], text[:, -2]]
    cache.window.rows = slice(0, 1)
    for part in (soft, text[:, :3], text[:, 3:-1]):
        read_row(model, inputs_embeds=part, cache=cache, past_length=length, is_plain=True)
        length += part.shape[1]
        cache.window.end = length
    short = ColumnCache(1, 2)
    read_row(model, inputs_embeds=text[:, :2], cache=short, past_length=0, is_plain=True)
    for index, (keys, values) in short.read(0, 0, 2).items():
        cache.write(index, 1, length - 2, keys, values)
    cache.window.rows = slice(0, 2)
    logits = step_rows(model, inputs_embeds=torch.stack(last), cache=cache, lengths=[length, 2])
    return logits[0]


def _snapshot(model: PreTrainedModel, soft: Tensor, text: Tensor) -> Tensor:
    """Soft rows, a copy of their cache, then the text on the copy, in three parts."""
    cache: Cache = DynamicCache(config=model.config)
    read_row(model, inputs_embeds=soft, cache=cache, past_length=0, is_plain=False)
    cache = copy.deepcopy(cache)
    length, logits = _VIRTUAL_TOKENS, soft.new_empty(0)
    for part in (text[:, :3], text[:, 3:-1], text[:, -1:]):
        logits = read_row(model, inputs_embeds=part, cache=cache, past_length=length, is_plain=False)
        length += part.shape[1]
    return logits


def _reread(model: PreTrainedModel, soft: Tensor, text: Tensor) -> Tensor:
    """Everything but the last token in one pass, then that token, as decoding would."""
    cache: Cache = DynamicCache(config=model.config)
    row = torch.cat([soft, text], dim=1)
    read_row(model, inputs_embeds=row[:, :-1], cache=cache, past_length=0, is_plain=False)
    return read_row(model, inputs_embeds=row[:, -1:], cache=cache, past_length=row.shape[1] - 1, is_plain=False)


def _distance(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


def _probes(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Random soft rows, spread as the token embeddings are, and random text."""
    embedding: Any = model.get_input_embeddings()
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(0, embedding.weight.shape[0], (1, _TEXT_TOKENS), generator=generator).to(model.device)
    # The width of the embeddings is not always the hidden size: OPT-350m projects between them.
    rows = torch.randn(1, _VIRTUAL_TOKENS, embedding.weight.shape[1], generator=generator)
    soft = (rows * embedding.weight.float().std().cpu()).to(device=model.device, dtype=model.dtype)
    return soft, embedding(text)
