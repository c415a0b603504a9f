"""RowBudget: how many running requests fit the engine's limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch

from langchain_softprompt.decode import SPARE_COLUMNS
from langchain_softprompt.errors import ContextLengthError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import cache_tensors
from langchain_softprompt.settings import EngineLimits

_PROBES = (4, 12)


@dataclass(frozen=True, slots=True)
class RowBudget:
    """Running requests are as many rows, each as long as the longest of them may become.

    Attributes:
        max_tokens: Most positions of all rows together; ``None`` for no limit.
        max_bytes: Most memory of all rows together.
        bytes_per_position: Keys and values of one position in all layers.
        bytes_per_row: What a native cache holds beside them; ``None`` for rows in one slotted cache, where instead each row has
            spare columns, and a prompt is read in a cache of its own before it is copied there.
    """

    max_tokens: int | None
    max_bytes: int
    bytes_per_position: int
    bytes_per_row: int | None = None

    @classmethod
    def of(cls, model: FrozenModel, limits: EngineLimits) -> Self:
        """The budget that an engine's limits leave for a model."""
        if model.reuses_prefix:
            numbers = sum(heads * (key + value) for heads, key, value in model.key_value_shapes)
            return cls(limits.max_tokens, limits.row_cache_bytes, numbers * model.dtype.itemsize)
        per_row, per_position = _native_bytes(model)
        return cls(limits.max_tokens, limits.row_cache_bytes, per_position, per_row)

    @property
    def max_columns(self) -> int | None:
        """The memory as columns of a slotted cache; ``None`` where there is none."""
        if self.bytes_per_row is not None or not self.bytes_per_position:
            return None
        return self.max_bytes // self.bytes_per_position

    def room(self, rows: int, longest: int, held: int = 0) -> int | None:
        """Columns left for prompts that are being read, beside rows that may come to such a length and columns held already."""
        columns = self.max_columns
        return None if columns is None else columns - max(rows * (longest + SPARE_COLUMNS), held)

    def fits(self, rows: int, longest: int) -> bool:
        """Whether so many rows, the longest of such a length, can run together."""
        if self.max_tokens is not None and rows * longest > self.max_tokens:
            return False
        room = self.room(rows, longest)
        if room is not None:
            return room >= longest
        return rows * ((self.bytes_per_row or 0) + longest * self.bytes_per_position) <= self.max_bytes

    def _longest_alone(self) -> int:
        columns = self.max_columns
        if columns is not None:
            return (columns - SPARE_COLUMNS) // 2
        return (self.max_bytes - (self.bytes_per_row or 0)) // max(1, self.bytes_per_position)

    def check_alone(self, size: int, rows: int = 1) -> None:
        """Refuse a request that would not even fit alone.

        Args:
            size: How many positions it may come to.
            rows: How many rows of that size it takes.

        Raises:
            ContextLengthError: It would not.
        """
        if self.fits(rows, size):
            return
        size *= rows
        if self.max_tokens is not None and size > self.max_tokens:
            limit = f"max_tokens={self.max_tokens}"
        else:
            limit = f"row_cache_bytes={self.max_bytes}, enough for {max(0, self._longest_alone())}"
        msg = (
            f"Soft prompt, text and what follows come to {size} positions, more than the engine's limits allow one request ({limit}). "
            "Lower max_new_tokens, shorten the text or the continuations, or raise the limit in EngineLimits."
        )
        raise ContextLengthError(msg)


@torch.inference_mode()
def _native_bytes(model: FrozenModel) -> tuple[int, int]:
    """What a native cache takes whatever it has read, and for each position: read off two short texts.

    A window that is full grows no more, so this may say too much, never too little.
    """
    sizes = []
    for length in _PROBES:
        cache, ids = model.new_cache(), torch.zeros(1, length, dtype=torch.long, device=model.device)
        model.forward(input_ids=ids, cache=cache, past_length=0)
        sizes.append(sum(tensor.nbytes for tensor in cache_tensors(cache)))
    per_position = max(0, sizes[1] - sizes[0]) // (_PROBES[1] - _PROBES[0])
    return max(0, sizes[0] - per_position * _PROBES[0]), per_position


__all__ = ["RowBudget"]
