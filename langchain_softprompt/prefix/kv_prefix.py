"""KVPrefix: the keys and values that a row's cache starts from."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
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
            dtype. Empty when the model does not continue from keys and values; then
        snapshot: is the native cache after the prefix, which is copied, never continued itself; or
        embeddings: the rows to read again with each request, ``[length, hidden_size]``.
    """

    length: int
    layers: tuple[tuple[Tensor, Tensor], ...] = ()
    embeddings: Tensor | None = None
    snapshot: Cache | None = None

    @property
    def compiled(self) -> bool:
        """Whether a row can start from it, rather than read it again."""
        return bool(self.layers) or self.snapshot is not None

    @property
    def num_bytes(self) -> int:
        """Memory its tensors take."""
        tensors = [tensor for layer in self.layers for tensor in layer]
        tensors += [self.embeddings] if self.embeddings is not None else []
        tensors += list(cache_tensors(self.snapshot)) if self.snapshot is not None else []
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def by_layer(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Keys and values by the index of their layer."""
        return dict(enumerate(self.layers))

    def stacked(self) -> Tensor:
        """Keys and values as one tensor of its own, ``[length, num_layers, 2, kv_heads, dim]``; all layers have one shape."""
        by_layer = [torch.stack([keys.transpose(0, 1), values.transpose(0, 1)], dim=1) for keys, values in self.layers]
        return torch.stack(by_layer, dim=1).clone()

    def cut(self, start: int, end: int, *, copy: bool = True) -> KVPrefix:
        """The part from one position to another; a view of the same memory unless copied."""
        part = KVPrefix(end - start, tuple((keys[:, start:end], values[:, start:end]) for keys, values in self.layers))
        return part.copied() if copy else part

    def joined(self, other: KVPrefix) -> KVPrefix:
        """These keys and values and those that follow them, in memory of their own."""
        pairs = zip(self.layers, other.layers, strict=True)
        layers = tuple((torch.cat([mine[0], theirs[0]], dim=1), torch.cat([mine[1], theirs[1]], dim=1)) for mine, theirs in pairs)
        return KVPrefix(self.length + other.length, layers)

    def copied(self) -> KVPrefix:
        """The same keys and values in memory of their own."""
        return KVPrefix(self.length, tuple((keys.clone(), values.clone()) for keys, values in self.layers))

    def to_cache(self, model: FrozenModel) -> Cache:
        """A fresh cache of one row that starts from this prefix.

        Growing a plain cache makes new tensors, so the prefix itself is never written to.
        """
        if self.snapshot is not None:
            return copy.deepcopy(self.snapshot)
        if not self.layers:
            return model.new_cache()
        return DynamicCache([(key[None], value[None]) for key, value in self.layers])


def cache_tensors(held: Any) -> Iterator[Tensor]:
    """Every tensor in a native cache, whatever its layers call them."""
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, dict):
        for value in held.values():
            yield from cache_tensors(value)
    elif isinstance(held, list | tuple):
        for value in held:
            yield from cache_tensors(value)
    elif hasattr(held, "layers") or type(held).__module__.startswith("transformers"):
        yield from cache_tensors({name: value for name, value in vars(held).items() if name != "config"})
