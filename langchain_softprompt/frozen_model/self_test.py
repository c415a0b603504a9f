"""Which cache serves this model? Found out by trying, at load."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.one_row import read_row, step_rows

logger = logging.getLogger(__name__)

_VIRTUAL_TOKENS = 5
_TEXT_TOKENS = 9
_SHORT_TOKENS = 3
# What a model's own decoding may differ from its one pass: Nemotron-H and Zamba 2 bound the time step in one only.
_OWN_DIFFERENCE = 0.02


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


@dataclass(frozen=True)
class _Probe:
    """Two rows that are read in turn, as requests are: soft rows and text, and a shorter text alone.

    Attributes:
        soft: Random soft rows, ``[1, length, hidden_size]``.
        text: The token ids after them, ``[1, length]``.
        short: The token ids of the other row.
        expected: The logits after each row, from one pass over it, without a cache.
    """

    soft: Tensor
    text: Tensor
    short: Tensor
    expected: tuple[Tensor, Tensor]


@torch.inference_mode()
def choose_cache_use(model: PreTrainedModel, *, tolerance: float | None = None) -> CacheUse:
    """Compare one pass over each of two rows with the several passes of serving, in each way from the fastest down.

    The allowed difference is a share of what the soft rows themselves do to the logits, so the test means the same
    on every model.

    Args:
        model: The transformers model.
        tolerance: That share; by default 0.01 % in float32, 15 % in half precision.

    Raises:
        FrozenModelError: The model can't be served in any way.
    """
    share = tolerance if tolerance is not None else 1e-4 if model.dtype == torch.float32 else 0.15
    try:
        probe, effect = _probe(model, share)
    except FrozenModelError:
        raise
    except Exception as error:
        msg = f"{type(model).__name__} can't be served: it does not run as transformers' causal language models do ({error})."
        raise FrozenModelError(msg) from error
    reasons = []
    # Reading again makes the very passes that `generate` makes, so all there is to see is whether the state is carried.
    ways = (
        (CacheUse.SLOTTED, _slotted, share),
        (CacheUse.SNAPSHOT, _snapshot, share),
        (CacheUse.REREAD, _reread, max(share, _OWN_DIFFERENCE)),
    )
    for use, attempt, share_of_use in ways:
        allowed = share_of_use * effect
        try:
            difference = max(_distance(*pair) for pair in zip(probe.expected, attempt(model, probe), strict=True))
        except Exception as error:  # noqa: BLE001 - whatever a model raises here means "not in this way".
            reasons.append(f"{use.name.lower()}: {(use is CacheUse.SLOTTED and _other_state(model)) or error}")
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


def _slotted(model: PreTrainedModel, probe: _Probe) -> tuple[Tensor, Tensor]:
    """Soft rows, then most of the text, then the last token of both rows, which have different lengths, in one step."""
    length, short = probe.soft.shape[1] + probe.text.shape[1] - 1, probe.short.shape[1] - 1
    cache = ColumnCache(2, length + 1)
    cache.window.rows = slice(0, 1)
    read_row(model, inputs_embeds=probe.soft, cache=cache, past_length=0, is_plain=True)
    for part in (probe.text[:, :3], probe.text[:, 3:-1]):
        read_row(model, input_ids=part, cache=cache, past_length=cache.window.end, is_plain=True)
    other = ColumnCache(1, short)
    read_row(model, input_ids=probe.short[:, :-1], cache=other, past_length=0, is_plain=True)
    cache.copy_columns(other, (0, 0), (1, length - short), short)
    cache.clear(1, 0, length - short)
    cache.window.rows = slice(0, 2)
    logits = step_rows(model, input_ids=torch.cat([probe.text[:, -1:], probe.short[:, -1:]]), cache=cache, lengths=[length, short])
    return logits[0], logits[1]


def _snapshot(model: PreTrainedModel, probe: _Probe) -> tuple[Tensor, Tensor]:
    """Soft rows, then the text on a copy of their cache, in parts; the other row between them."""
    cache: Cache = DynamicCache(config=model.config)
    read_row(model, inputs_embeds=probe.soft, cache=cache, past_length=0, is_plain=False)
    cache, other = copy.deepcopy(cache), DynamicCache(config=model.config)
    length, short, last = probe.soft.shape[1], probe.short.shape[1] - 1, probe.text.shape[1] - 1
    read_row(model, input_ids=probe.text[:, :3], cache=cache, past_length=length, is_plain=False)
    read_row(model, input_ids=probe.short[:, :-1], cache=other, past_length=0, is_plain=False)
    read_row(model, input_ids=probe.text[:, 3:-1], cache=cache, past_length=length + 3, is_plain=False)
    return (
        read_row(model, input_ids=probe.text[:, -1:], cache=cache, past_length=length + last, is_plain=False),
        read_row(model, input_ids=probe.short[:, -1:], cache=other, past_length=short, is_plain=False),
    )


def _reread(model: PreTrainedModel, probe: _Probe) -> tuple[Tensor, Tensor]:
    """Everything but the last token in one pass, for either row, then that token, as decoding would."""
    cache: Cache = DynamicCache(config=model.config)
    other: Cache = DynamicCache(config=model.config)
    row = torch.cat([probe.soft, _embed(model, probe.text[:, :-1])], dim=1)
    read_row(model, inputs_embeds=row, cache=cache, past_length=0, is_plain=False)
    read_row(model, input_ids=probe.short[:, :-1], cache=other, past_length=0, is_plain=False)
    return (
        read_row(model, input_ids=probe.text[:, -1:], cache=cache, past_length=row.shape[1], is_plain=False),
        read_row(model, input_ids=probe.short[:, -1:], cache=other, past_length=probe.short.shape[1] - 1, is_plain=False),
    )


def _probe(model: PreTrainedModel, share: float) -> tuple[_Probe, float]:
    """The two rows, and what the soft rows do to the logits."""
    soft, text, short = _random_rows(model)

    def whole(input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None) -> Tensor:
        return read_row(model, input_ids=input_ids, inputs_embeds=inputs_embeds, cache=None, past_length=0, is_plain=False)

    with_soft, without = whole(inputs_embeds=torch.cat([soft, _embed(model, text)], dim=1)), whole(inputs_embeds=_embed(model, text))
    effect = _distance(with_soft, without)
    difference = _distance(without, whole(input_ids=text))
    if not difference <= share * effect:
        msg = (
            f"{type(model).__name__} can't be served: it reads token ids in another way than their embeddings (difference "
            f"{difference:.2e}, allowed {share * effect:.2e}), so a soft prompt can't stand for tokens. "
            "Choose a model of another architecture."
        )
        raise FrozenModelError(msg)
    return _Probe(soft, text, short, (with_soft, whole(input_ids=short))), effect


def _other_state(model: PreTrainedModel) -> str | None:
    """What a model's native cache holds that slots of keys and values can't."""
    layers: list[Any] = DynamicCache(config=model.config).layers
    kinds = {type(layer).__name__: None for layer in layers if isinstance(layer, LinearAttentionCacheLayerMixin)}
    return f"it keeps more than keys and values ({', '.join(kinds)})" if kinds else None


def _distance(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


def _embed(model: PreTrainedModel, token_ids: Tensor) -> Tensor:
    embeds: Tensor = model.get_input_embeddings()(token_ids)
    return embeds


def _random_rows(model: PreTrainedModel) -> tuple[Tensor, Tensor, Tensor]:
    """Random soft rows, spread as the token embeddings are, and two random texts."""
    embedding: Any = model.get_input_embeddings()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, embedding.weight.shape[0], (1, _TEXT_TOKENS + _SHORT_TOKENS), generator=generator).to(model.device)
    # The width of the embeddings is not always the hidden size: OPT-350m projects between them.
    rows = torch.randn(1, _VIRTUAL_TOKENS, embedding.weight.shape[1], generator=generator)
    soft = (rows * embedding.weight.float().std().cpu()).to(device=model.device, dtype=model.dtype)
    return soft, ids[:, :_TEXT_TOKENS], ids[:, _TEXT_TOKENS:]
