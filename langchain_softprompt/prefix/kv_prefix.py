"""KVPrefix: the keys and values that a row's cache starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor
from transformers import Cache, DynamicCache

if TYPE_CHECKING:
    from langchain_softprompt.frozen_model import FrozenModel


@dataclass(frozen=True, eq=False)
class KVPrefix:
    """A compiled prefix. Nothing in it tells which method made the soft prompt.

    Attributes:
        length: Positions it takes in the model's context.
        layers: For each layer its keys and values, each ``[kv_heads, length, dim]``, on the model's device and in its
            dtype. Empty when the model can't continue from a prefix; then
        embeddings: the rows to read again with each request, ``[length, hidden_size]``.
    """

    length: int
    layers: tuple[tuple[Tensor, Tensor], ...] = ()
    embeddings: Tensor | None = None

    @property
    def num_bytes(self) -> int:
        """Memory its tensors take."""
        tensors = [tensor for layer in self.layers for tensor in layer]
        tensors += [self.embeddings] if self.embeddings is not None else []
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def to_cache(self, model: FrozenModel) -> Cache:
        """A fresh cache of one row that starts from this prefix.

        Growing a plain cache makes new tensors, so the prefix itself is never written to.
        """
        if not self.layers:
            return model.new_cache()
        return DynamicCache([(key[None], value[None]) for key, value in self.layers])
