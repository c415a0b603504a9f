"""Prefill: read one request, alone, on top of its compiled prefix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Cache

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KVPrefix


def prefill(model: FrozenModel, prefix: KVPrefix | None, token_ids: Sequence[int]) -> tuple[Cache, Tensor]:
    """Read the prompt.

    Alone, because a batch of prompts would put padding between prefix and text, which moves the window of
    sliding-window layers.

    Returns:
        The row's own cache (prefix and prompt), and the logits after the last token, float32, shape ``[vocab_size]``.
    """
    ids = torch.tensor([token_ids], dtype=torch.long, device=model.device)
    if prefix is None:
        cache = model.new_cache()
        return cache, model.forward(input_ids=ids, cache=cache, past_length=0)
    if model.reuses_prefix:
        cache = prefix.to_cache(model)
        return cache, model.forward(input_ids=ids, cache=cache, past_length=prefix.length)
    if prefix.embeddings is None:
        msg = "This model reads soft prompt and text in one pass, which needs the soft prompt's embeddings."
        raise TypeError(msg)
    cache = model.new_cache()
    embeds = torch.cat([prefix.embeddings[None], model.embed(ids)], dim=1)
    return cache, model.forward(inputs_embeds=embeds, cache=cache, past_length=0)


__all__ = ["prefill"]
