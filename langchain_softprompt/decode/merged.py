"""MergedRows: all running rows in one slotted cache, one forward a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, DynamicLayer

from langchain_softprompt.decode.outcome import StepOutcome
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.columns import ColumnCache, KeysAndValues
from langchain_softprompt.prefix import KVPrefix

# Columns beyond what the rows need. Half of them lie to the left of the rows, for longer ones to join, and half to
# the right, for steps to write; when either is used up, the rows are laid out anew.
SPARE_COLUMNS = 128


class MergedRows:
    """Rows of different lengths and prefixes that decode in one forward.

    All rows end at the same column, so a step writes one column for all of them; each row's own columns stand
    together, so distances between positions are the row's own and index-based sliding windows stay exact; a 2-D mask
    hides what lies to the left of a row. Rows join by a copy into a free slot and leave by moving the last slot into
    the hole.

    Args:
        model: The frozen model.
        max_rows: Slots are doubled when they run out, up to this number.
        max_columns: Most columns of all slots and of prompts that are being read; one row more always gets a slot.
    """

    def __init__(self, model: FrozenModel, max_rows: int = 1, max_columns: int | None = None) -> None:
        self._model = model
        self._max_rows = max_rows
        self._max_columns = max_columns
        self._slots: list[int] = []
        self._lengths: dict[int, int] = {}
        self._needed: dict[int, int] = {}
        self._lost: dict[int, Exception] = {}
        self._cache = ColumnCache(0, 0)
        self._cleared = 0  # the first column that any row may see

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def num_bytes(self) -> int:
        """Memory the keys and values take, spare columns included."""
        return self._cache.num_bytes

    @property
    def columns(self) -> int:
        """Columns of all slots, free ones included."""
        return self._cache.slots * self._cache.capacity

    def trim(self) -> None:
        """Give back slots and columns that were made for rows that have left."""
        if self._slots:
            slots, needed = len(self._slots), max(self._needed.values())
            if slots * (needed + SPARE_COLUMNS) < self.columns:
                self._lay_out(slots, needed)

    def add(self, row: int, cache: Cache, length: int, needed: int | None = None, beside: int = 0) -> None:
        """Take over a prefilled row that will grow to `needed` positions; see `RowStore.add`."""
        try:
            self._make_room(length, max(needed or 0, length + 1), beside)
            slot, end = len(self._slots), self._cache.window.end
            if isinstance(cache, ColumnCache):
                self._cache.copy_columns(cache, (0, 0), (slot, end - length), length)
            else:
                for index, (keys, values) in _plain_layers(cache, length).items():
                    self._cache.write(index, slot, end - length, keys, values)
            self._clear_lefts(slot, end - length)
        except Exception:
            if not self._slots:
                self._cache = ColumnCache(0, 0)
            raise
        self._slots.append(row)
        self._lengths[row] = length
        self._needed[row] = max(needed or 0, length + 1)

    def remove(self, row: int) -> None:
        """Free a row; nothing happens when it is not held."""
        self._lost.pop(row, None)
        if row not in self._lengths:
            return
        del self._lengths[row], self._needed[row]
        hole = self._slots.index(row)
        while self._slots[-1] != row:
            moved = self._slots[-1]
            try:
                left = self._cleared
                self._cache.copy_columns(self._cache, (len(self._slots) - 1, left), (hole, left), self._cache.window.end - left)
            except Exception as error:  # noqa: BLE001 - the row that should have moved is lost, and the next step says so.
                self._lost[moved] = error
                del self._lengths[moved], self._needed[moved]
                self._slots.pop()
            else:
                self._slots[hole], self._slots[-1] = moved, row
        self._slots.pop()
        if not self._slots:
            self._drop_rows()

    def step(self, tokens: Mapping[int, int]) -> StepOutcome:
        """Append one token to every row held; see `RowStore.step`."""
        outcome = StepOutcome(failed={**self._lost})
        self._lost.clear()
        if not self._slots:
            return outcome
        if self._cache.window.end >= self._cache.capacity:
            self._lay_out(self._cache.slots, max(self._needed.values()))
        self._step(0, len(self._slots), tokens, outcome)
        self._cache.window.end += 1
        for row in self._slots:
            self._lengths[row] += 1
        return outcome

    def length(self, row: int) -> int:
        """How many positions a row has read."""
        return self._lengths[row]

    def positions(self, row: int, start: int, end: int) -> KVPrefix | None:
        """What a row has read at some of its positions, as views."""
        left = self._cache.window.end - self._lengths[row]
        layers = self._cache.read(self._slots.index(row), left + start, left + end)
        return KVPrefix(end - start, tuple(layers.values()))

    def row_cache(self, row: int) -> Cache:
        """What one row has read so far, as a cache of its own."""
        cache = DynamicCache()
        left, end = self._cache.window.end - self._lengths[row], self._cache.window.end
        for index, (keys, values) in self._cache.read(self._slots.index(row), left, end).items():
            cache.update(keys[None].clone(), values[None].clone(), index)
        return cache

    def clear(self) -> None:
        """Free every row and the memory."""
        self._lost.clear()
        self._drop_rows()

    def _drop_rows(self) -> None:
        self._slots.clear()
        self._lengths.clear()
        self._needed.clear()
        self._cache = ColumnCache(0, 0)

    def _step(self, first: int, last: int, tokens: Mapping[int, int], outcome: StepOutcome) -> None:
        """One forward for a range of slots; when it fails, two for its halves, so that only the rows at fault fail."""
        rows = self._slots[first:last]
        try:
            outcome.answered.append((rows, self._forward(first, last, tokens)))
        except Exception as error:  # noqa: BLE001 - any failure of the model, out of memory among them.
            if len(rows) == 1:
                outcome.failed[rows[0]] = error
                return
            del error  # Its frames hold on to the failed step's tensors.
            middle = (first + last) // 2
            self._step(first, middle, tokens, outcome)
            self._step(middle, last, tokens, outcome)

    def _forward(self, first: int, last: int, tokens: Mapping[int, int]) -> Tensor:
        rows = self._slots[first:last]
        self._cache.window.rows = slice(first, last)
        tokens_now = torch.tensor([[tokens[row]] for row in rows], device=self._model.device)
        return self._model.passes.step(tokens_now, self._cache, [self._lengths[row] for row in rows])

    def _clear_lefts(self, new: int, start: int) -> None:
        """A row begins at a column, in a slot behind the others: clear what the rows see of each other's width.

        Nothing to the left of the longest row is ever in sight, so that is left as it is.
        """
        if not self._slots:
            self._cleared = start
        for slot in range(len(self._slots)):
            self._cache.clear(slot, start, self._cleared)
        self._cleared = min(self._cleared, start)
        self._cache.clear(new, self._cleared, start)

    def _clear_all_lefts(self) -> None:
        """The same when all rows have been moved."""
        starts = [self._cache.window.end - self._lengths[row] for row in self._slots]
        self._cleared = min(starts, default=0)
        for slot, start in enumerate(starts):
            self._cache.clear(slot, self._cleared, start)

    def _make_room(self, length: int, needed: int, beside: int) -> None:
        """See to it that one more row fits."""
        count = len(self._slots) + 1
        needed = max([needed, *self._needed.values()])
        cache = self._cache
        if not self._slots or count > cache.slots or needed > cache.capacity or length > cache.window.end:
            slots = min(2 * cache.slots, self._max_rows) if count > cache.slots else cache.slots
            if self._max_columns is not None:
                slots = min(slots, (self._max_columns - beside) // (needed + SPARE_COLUMNS))
            self._lay_out(max(slots, count), needed, longest=length)

    def _lay_out(self, slots: int, needed: int, longest: int = 0) -> None:
        """Copy the rows into new buffers, layer by layer, so that at most one layer is held twice."""
        old, longest = self._cache, max([longest, *self._lengths.values()])
        new = ColumnCache(slots, needed + SPARE_COLUMNS)
        new.window.end = longest + SPARE_COLUMNS // 2
        try:
            self._move(old, new)
        except Exception:  # Out of memory, most likely. The rows must not stay behind in two halves.
            self._move_back(new, old)
            raise
        self._cache = new
        self._clear_all_lefts()

    def _move(self, source: ColumnCache, target: ColumnCache) -> None:
        for index, layer in list(source.filled()):
            for slot, row in enumerate(self._slots):
                length = self._lengths[row]
                columns = source.window.end - length, target.window.end - length
                target.copy_layer(index, layer, (slot, columns[0]), (slot, columns[1]), length)
            layer.reset()

    def _move_back(self, new: ColumnCache, old: ColumnCache) -> None:
        """Undo a move that failed half way; when that fails too, the rows are lost, and the next step says so."""
        try:
            kept = {index for index, _ in old.filled()}
            for index, layer in new.filled():
                if index in kept:  # It was never moved as a whole.
                    layer.reset()
            self._move(new, old)
            self._clear_all_lefts()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is left to serve these rows from.
            lost = dict.fromkeys(self._slots, error)
            self.clear()
            self._lost = lost


def _plain_layers(cache: Cache, length: int) -> dict[int, KeysAndValues]:
    """Keys and values of a plain growing cache of one row."""
    parts: dict[int, KeysAndValues] = {}
    layers: list[Any] = list(cache.layers)
    for index, layer in enumerate(layers):
        if type(layer) is not DynamicLayer:
            msg = f"Only plain growing cache layers can be merged, layer {index} is a {type(layer).__name__}."
            raise TypeError(msg)
        if layer.keys is not None and layer.values is not None:
            parts[index] = (layer.keys[0, :, :length], layer.values[0, :, :length])
    return parts


__all__ = ["SPARE_COLUMNS", "MergedRows"]
