"""May this model's cache be continued from a prefix, and if not, is its native cache exact? Found out by trying, at load."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model.one_row import read_row

logger = logging.getLogger(__name__)

_VIRTUAL_TOKENS = 5
_TEXT_TOKENS = 9


@torch.inference_mode()
def continues_from_prefix(model: PreTrainedModel) -> bool:
    """Compare one pass over `[soft rows | text]` with the two passes of serving: soft rows first, then the text.

    The allowed difference is a share of what the soft rows themselves do to the logits, so the test means the same
    on every model: 0.1 % in float32, 15 % in half precision.

    Returns:
        True when both give the same logits and a plain growing cache can be used; False when the model needs its
        native cache and a full pass over soft prompt and text for each request.

    Raises:
        FrozenModelError: The model can't be served either way.
    """
    soft, text = _probes(model)
    row = torch.cat([soft, text], dim=1)
    try:
        bare = read_row(model, inputs_embeds=text, cache=None, past_length=0, is_plain=True)
        whole = read_row(model, inputs_embeds=row, cache=None, past_length=0, is_plain=True)
        cache = DynamicCache()
        read_row(model, inputs_embeds=soft, cache=cache, past_length=0, is_plain=True)
        continued = read_row(model, inputs_embeds=text, cache=cache, past_length=_VIRTUAL_TOKENS, is_plain=True)
    except Exception as error:  # noqa: BLE001 - whatever a model raises here means "no".
        logger.warning("%s can't continue from a prefix (%s); soft prompts are read again with each request.", type(model).__name__, error)
        _require_native_cache(model, row)
        return False
    effect = (whole - bare).abs().max().item()
    difference = (whole - continued).abs().max().item()
    allowed = effect * _share(model)
    passed = difference <= allowed
    log = logger.debug if passed else logger.warning
    log(
        "Prefix self-test on %s: difference %.2e, allowed %.2e: %s.",
        type(model).__name__,
        difference,
        allowed,
        "compiled prefixes are used" if passed else "soft prompts are read again with each request",
    )
    if not passed:
        _require_native_cache(model, row)
    return passed


def _require_native_cache(model: PreTrainedModel, row: Tensor) -> None:
    """The fallback reads `[soft rows | text]` in one pass and then goes on token by token: try that as well.

    A model that ignores the cache it is given would otherwise answer from the second token on as if it had read
    nothing.
    """
    try:
        cache = DynamicCache(config=model.config)
        before = read_row(model, inputs_embeds=row[:, :-1], cache=cache, past_length=0, is_plain=False)
        continued = read_row(model, inputs_embeds=row[:, -1:], cache=cache, past_length=row.shape[1] - 1, is_plain=False)
        whole = read_row(model, inputs_embeds=row, cache=None, past_length=0, is_plain=False)
    except Exception as error:
        msg = f"{type(model).__name__} can't be served: it does not run as transformers' causal language models do ({error})."
        raise FrozenModelError(msg) from error
    difference = (whole - continued).abs().max().item()
    allowed = (whole - before).abs().max().item() * _share(model)
    if not difference <= allowed:
        msg = (
            f"{type(model).__name__} can't be served: its cache does not carry what was read before "
            f"(difference {difference:.2e}, allowed {allowed:.2e}). Choose a model of another architecture."
        )
        raise FrozenModelError(msg)


def _probes(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Random soft rows, spread as the token embeddings are, and random text."""
    embedding: Any = model.get_input_embeddings()
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(0, embedding.weight.shape[0], (1, _TEXT_TOKENS), generator=generator).to(model.device)
    # The width of the embeddings is not always the hidden size: OPT-350m projects between them.
    rows = torch.randn(1, _VIRTUAL_TOKENS, embedding.weight.shape[1], generator=generator)
    soft = (rows * embedding.weight.float().std().cpu()).to(device=model.device, dtype=model.dtype)
    return soft, embedding(text)


def _share(model: PreTrainedModel) -> float:
    return 1e-3 if model.dtype == torch.float32 else 0.15
