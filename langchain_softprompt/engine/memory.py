"""RowBudget: how many running requests fit the engine's limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from langchain_softprompt.decode import SPARE_COLUMNS
from langchain_softprompt.errors import ContextLengthError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import EngineLimits


@dataclass(frozen=True, slots=True)
class RowBudget:
    """Running requests are as many rows, each as long as the longest of them may become.

    Attributes:
        max_tokens: Most positions of all rows together; ``None`` for no limit.
        max_bytes: Most memory of all rows together.
        bytes_per_position: Keys and values of one position in all layers; 0 when the model's native cache decides.
    """

    max_tokens: int | None
    max_bytes: int
    bytes_per_position: int

    @classmethod
    def of(cls, model: FrozenModel, limits: EngineLimits) -> Self:
        """The budget that an engine's limits leave for a model."""
        per_position = 0
        if model.reuses_prefix:
            numbers = sum(heads * (key + value) for heads, key, value in model.key_value_shapes)
            per_position = numbers * model.dtype.itemsize
        return cls(limits.max_tokens, limits.row_cache_bytes, per_position)

    @property
    def max_columns(self) -> int | None:
        """The memory as positions; ``None`` when the model's native cache decides."""
        return self.max_bytes // self.bytes_per_position if self.bytes_per_position else None

    def fits(self, rows: int, longest: int) -> bool:
        """Whether so many rows, the longest of such a length, can run together."""
        if self.max_tokens is not None and rows * longest > self.max_tokens:
            return False
        return rows * (longest + SPARE_COLUMNS) * self.bytes_per_position <= self.max_bytes

    def check_alone(self, size: int) -> None:
        """Refuse a request that would not even fit alone.

        Raises:
            ContextLengthError: It would not.
        """
        if self.fits(1, size):
            return
        if self.max_tokens is not None and size > self.max_tokens:
            limit = f"max_tokens={self.max_tokens}"
        else:
            limit = f"row_cache_bytes={self.max_bytes}, enough for {self.max_bytes // self.bytes_per_position - SPARE_COLUMNS}"
        msg = (
            f"Soft prompt, text and max_new_tokens come to {size} positions, more than the engine's limits allow one request ({limit}). "
            "Lower max_new_tokens, shorten the text, or raise the limit in EngineLimits."
        )
        raise ContextLengthError(msg)


__all__ = ["RowBudget"]
