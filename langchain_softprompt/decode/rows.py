"""RowStore: what the engine asks of a store of running rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor
from transformers import Cache

from langchain_softprompt.decode.merged import MergedRows
from langchain_softprompt.decode.separate import SeparateRows
from langchain_softprompt.frozen_model import FrozenModel


class RowStore(Protocol):
    """The keys and values of the running rows, each row under a number of the engine's choice."""

    def __len__(self) -> int:
        """How many rows are held."""
        ...

    def add(self, row: int, cache: Cache, length: int) -> None:
        """Take over a prefilled row; `cache` holds `length` positions and belongs to the store from now on."""
        ...

    def remove(self, row: int) -> None:
        """Free a row; nothing happens when it is not held."""
        ...

    def step(self, tokens: Mapping[int, int]) -> dict[int, Tensor]:
        """Append one token to every row held and return each row's next logits, float32, shape ``[vocab_size]``.

        When it raises, the rows are in no defined state and the caller must `clear`.
        """
        ...

    def row_cache(self, row: int) -> Cache:
        """What one row has read so far, as a cache of its own."""
        ...

    def clear(self) -> None:
        """Free every row."""
        ...


def new_row_store(model: FrozenModel) -> RowStore:
    """The store for a model: merged where its cache is plain keys and values, else one native cache a row."""
    return MergedRows(model) if model.reuses_prefix else SeparateRows(model)


__all__ = ["RowStore", "new_row_store"]
