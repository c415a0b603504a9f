"""SeparateRows: each running row in the model's native cache, one forward a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import Cache

from langchain_softprompt.decode.outcome import StepOutcome
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.passes import RowPart
from langchain_softprompt.prefix import KVPrefix


@dataclass(slots=True)
class _Row:
    cache: Cache
    length: int


class SeparateRows:
    """The slower store, for models whose state is more than keys and values (linear attention, Mamba)."""

    def __init__(self, model: FrozenModel) -> None:
        self._model = model
        self._rows: dict[int, _Row] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def columns(self) -> int:
        """None: each row has a native cache."""
        return 0

    def trim(self) -> None:
        """Nothing: what a row held goes with it."""

    def add(self, row: int, cache: Cache, length: int, needed: int | None = None, beside: int = 0) -> None:
        """Take over a prefilled row; a native cache grows by itself, so the sizes say nothing here."""
        del needed, beside
        self._rows[row] = _Row(cache, length)

    def remove(self, row: int) -> None:
        """Free a row; nothing happens when it is not held."""
        self._rows.pop(row, None)

    def step(self, tokens: Mapping[int, int]) -> StepOutcome:
        """Append one token to every row held; see `RowStore.step`."""
        outcome = StepOutcome()
        for name, row in self._rows.items():
            ids = torch.tensor([[tokens[name]]], device=self._model.device)
            try:
                (logits,) = self._model.passes.read([RowPart(row.cache, row.length, input_ids=ids)])
                if logits is not None:
                    outcome.answered.append(([name], logits[None]))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this row's alone.
                outcome.failed[name] = error
            row.length += 1
        return outcome

    def length(self, row: int) -> int:
        """How many positions a row has read."""
        return self._rows[row].length

    def positions(self, row: int, start: int, end: int) -> KVPrefix | None:
        """Nothing: a native cache may hold state that belongs to no position."""
        del row, start, end
        return None

    def row_cache(self, row: int) -> Cache:
        """What one row has read so far."""
        return self._rows[row].cache

    def clear(self) -> None:
        """Free every row."""
        self._rows.clear()


__all__ = ["SeparateRows"]
