"""A whole prompt read at once, as the engine would."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from transformers import Cache, DynamicCache

from langchain_softprompt.decode import Prefill
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.prefix import KVPrefix


def prefill(model: FrozenModel, prefix: KVPrefix | None, token_ids: Sequence[int]) -> tuple[Cache, Tensor]:
    """The row's own cache (prefix and prompt), free to grow, and the logits after the last token."""
    reading = Prefill(model, [] if prefix is None else [prefix], token_ids=token_ids)
    logits = reading.advance()
    assert logits is not None
    cache = reading.cache
    if isinstance(cache, ColumnCache):
        cache = DynamicCache([(keys[None], values[None]) for keys, values in cache.read(0, 0, reading.length).values()])
    return cache, logits
