"""ColumnCache: keys and values in buffers made once, written in place, column by column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from transformers import Cache, DynamicLayer

KeysAndValues = tuple[Tensor, Tensor]


@dataclass(slots=True)
class Window:
    """The part of the buffers that the next forward sees; one for all layers, so that moving on is one assignment.

    Attributes:
        rows: Which slots take part.
        start: First column in sight.
        end: Where the next forward writes.
    """

    rows: slice
    start: int = 0
    end: int = 0


class ColumnLayer(DynamicLayer):
    """One layer's buffers, each ``[slots, kv_heads, capacity, dim]``; where keys and values are alike, two halves of one.

    A growing cache copies all keys and values at each step; here only the new column is written.
    """

    def __init__(self, window: Window, slots: int, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._window = window
        self._slots = slots
        self._capacity = capacity
        self._both: Tensor | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make the buffers in the shape of the first keys and values."""
        self.dtype, self.device = key_states.dtype, key_states.device
        shapes = [(self._slots, states.shape[1], self._capacity, states.shape[3]) for states in (key_states, value_states)]
        if shapes[0] == shapes[1]:
            self._both = key_states.new_empty(2, *shapes[0])
            self.keys, self.values = self._both.unbind(0)
        else:
            self.keys, self.values = key_states.new_empty(shapes[0]), value_states.new_empty(shapes[1])
        self.is_initialized = True

    def reset(self) -> None:
        """Let go of the buffers."""
        super().reset()
        self._both = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> KeysAndValues:
        """Write the new columns of the rows in sight and return all their columns."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        window, (keys, values) = self._window, self.buffers()
        last = window.end + key_states.shape[-2]
        keys[window.rows, :, window.end : last] = key_states
        values[window.rows, :, window.end : last] = value_states
        return keys[window.rows, :, window.start : last], values[window.rows, :, window.start : last]

    def extend(self, states: Tensor, dtype: torch.dtype) -> KeysAndValues:
        """The same for keys and values that are alike and come in one tensor, in a third of the operations.

        Args:
            states: ``[rows, 2, kv_heads, dim]``: one new column for each row in sight. Or, where one row is in sight,
                its new columns.
            dtype: Of the buffers, should there be none yet.
        """
        positions, _, heads, dim = states.shape
        window, capacity = self._window, self._capacity
        rows = window.rows.stop - window.rows.start
        length = positions // rows
        if not self.is_initialized:
            like = states.new_empty(0, heads, 0, dim, dtype=dtype)
            self.lazy_initialization(like, like)
        both = self._both
        if both is None:
            msg = "Keys and values of this layer are of different shapes."
            raise TypeError(msg)
        row, half = heads * capacity * dim, self._slots * heads * capacity * dim
        first = window.rows.start * row
        new = both.as_strided((rows, length, 2, heads, dim), (row, dim, half, capacity * dim, 1), first + window.end * dim)
        new.copy_(states.view(rows, length, 2, heads, dim))
        shape, strides = (rows, heads, window.end + length - window.start, dim), (row, capacity * dim, dim, 1)
        start = first + window.start * dim
        return both.as_strided(shape, strides, start), both.as_strided(shape, strides, start + half)

    def columns(self, slot: int, start: int, end: int) -> list[Tensor]:
        """Views of one slot's columns, in one tensor ``[2, kv_heads, length, dim]`` where that can be, else in two."""
        if self._both is not None:
            return [self._both[:, slot, :, start:end]]
        return [buffer[slot, :, start:end] for buffer in self.buffers()]

    def buffers(self) -> KeysAndValues:
        """The whole buffers."""
        if self.keys is None or self.values is None:
            msg = "The layer has read nothing yet."
            raise TypeError(msg)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """How many columns are in sight, before the new ones."""
        return self._window.end - self._window.start


class ColumnCache(Cache):
    """A cache of `slots` rows and `capacity` columns, to hand to a transformers model.

    Only the window in sight counts as its contents; `window` is moved by the owner, after a forward has succeeded, so
    a forward that failed half way has changed nothing that a second try would see.

    Args:
        slots: Rows.
        capacity: Columns.
    """

    def __init__(self, slots: int, capacity: int) -> None:
        self.slots = slots
        self.capacity = capacity
        self.window = Window(slice(0, slots))
        super().__init__(layer_class_to_replicate=partial(ColumnLayer, self.window, slots, capacity))  # type: ignore[arg-type]

    def filled(self) -> Iterator[tuple[int, ColumnLayer]]:
        """The layers that hold something; where layers share keys and values, some never do."""
        for index, layer in enumerate(self.layers):
            if isinstance(layer, ColumnLayer) and layer.is_initialized:
                yield index, layer

    def layer(self, index: int) -> ColumnLayer:
        """One layer, made when it is not there yet."""
        while len(self.layers) <= index:
            self.layers.append(ColumnLayer(self.window, self.slots, self.capacity))
        layer: Any = self.layers[index]
        return cast("ColumnLayer", layer)

    def write(self, index: int, slot: int, start: int, keys: Tensor, values: Tensor) -> None:
        """Put keys and values, each ``[kv_heads, length, dim]``, into the columns of one slot from `start` on.

        What lies to the left of a first write and in sight must be cleared: see `clear`.
        """
        layer = self.layer(index)
        if not layer.is_initialized:
            layer.lazy_initialization(keys[None], values[None])
        for buffer, states in zip(layer.buffers(), (keys, values), strict=True):
            buffer[slot, :, start : start + states.shape[1]] = states

    def copy_columns(self, other: ColumnCache, source: tuple[int, int], target: tuple[int, int], length: int) -> None:
        """Copy columns of another cache, or of this one, from one slot and column to another, in all layers."""
        for index, layer in list(other.filled()):
            self.copy_layer(index, layer, source, target, length)

    def copy_layer(self, index: int, layer: ColumnLayer, source: tuple[int, int], target: tuple[int, int], length: int) -> None:
        """The same for one layer."""
        mine = self.layer(index)
        if not mine.is_initialized:
            keys, values = layer.buffers()
            mine.lazy_initialization(keys[:1], values[:1])
        (from_slot, from_column), (to_slot, to_column) = source, target
        columns = layer.columns(from_slot, from_column, from_column + length)
        for ours, theirs in zip(mine.columns(to_slot, to_column, to_column + length), columns, strict=True):
            ours.copy_(theirs)

    def gather(self, slot: int, start: int, columns: Sequence[int]) -> None:
        """Copy columns of a slot from wherever they stand to a row of neighbours from `start` on."""
        for _, layer in self.filled():
            chosen = torch.tensor(columns, device=layer.buffers()[0].device)
            for whole in layer.columns(slot, 0, self.capacity):
                whole[..., start : start + len(columns), :] = whole[..., chosen, :]

    def clear(self, slot: int, start: int, end: int) -> None:
        """Zero columns to the left of a row: a masked column counts nothing, but nothing times NaN is NaN."""
        if start >= end:
            return
        for _, layer in self.filled():
            for columns in layer.columns(slot, start, end):
                columns.zero_()

    def read(self, slot: int, start: int, end: int) -> dict[int, KeysAndValues]:
        """Columns of one slot, by layer, each ``[kv_heads, length, dim]``; views, not copies."""
        parts = {}
        for index, layer in self.filled():
            keys, values = layer.buffers()
            parts[index] = (keys[slot, :, start:end], values[slot, :, start:end])
        return parts

    @property
    def num_bytes(self) -> int:
        """Memory the buffers take."""
        return sum(buffer.numel() * buffer.element_size() for _, layer in self.filled() for buffer in layer.buffers())


__all__ = ["ColumnCache", "ColumnLayer", "KeysAndValues", "Window"]
