"""RowStore: what the engine asks of a store of running rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from transformers import Cache

from langchain_softprompt.decode.merged import MergedRows
from langchain_softprompt.decode.outcome import StepOutcome
from langchain_softprompt.decode.separate import SeparateRows
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KVPrefix


class RowStore(Protocol):
    """The keys and values of the running rows, each row under a number of the engine's choice."""

    def __len__(self) -> int:
        """How many rows are held."""
        ...

    @property
    def columns(self) -> int:
        """Columns of the slotted cache, free ones included; 0 where there is none."""
        ...

    def trim(self) -> None:
        """Give back what was made for rows that have left; when that fails, all rows are as they were."""
        ...

    def add(self, row: int, cache: Cache, length: int, needed: int | None = None, beside: int = 0) -> None:
        """Take over a prefilled row.

        Args:
            row: Its number.
            cache: What it has read, `length` positions; belongs to the store from now on.
            length: How many positions that is.
            needed: How many it will be at most.
            beside: Columns that prompts being read hold, this one among them; room is not made in advance on their account.
        """
        ...

    def remove(self, row: int) -> None:
        """Free a row; nothing happens when it is not held."""
        ...

    def step(self, tokens: Mapping[int, int]) -> StepOutcome:
        """Append one token to every row held."""
        ...

    def length(self, row: int) -> int:
        """How many positions a row has read."""
        ...

    def positions(self, row: int, start: int, end: int) -> KVPrefix | None:
        """What a row has read at some of its positions, as views; ``None`` when its cache can't be cut."""
        ...

    def row_cache(self, row: int) -> Cache:
        """What one row has read so far, as a cache of its own."""
        ...

    def clear(self) -> None:
        """Free every row."""
        ...


def new_row_store(model: FrozenModel, max_rows: int = 1, max_columns: int | None = None) -> RowStore:
    """The store for a model: slotted where its cache is plain keys and values, else one native cache a row."""
    return MergedRows(model, max_rows, max_columns) if model.reuses_prefix else SeparateRows(model)


__all__ = ["RowStore", "new_row_store"]
