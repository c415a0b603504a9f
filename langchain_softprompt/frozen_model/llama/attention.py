"""Each row attends to what it has read, which stands in the columns of a `ColumnCache`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.passes import RowPart


class Attention(Protocol):
    """One pass's attention."""

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor, *, window: int | None) -> Tensor:
        """Write the new keys and values to the cache and let the new queries look at all that is there.

        Args:
            index: The layer.
            queries: ``[positions, heads, head_dim]``.
            keys: ``[positions, kv_heads, head_dim]``; heads share them in groups.
            values: The same.
            window: How many positions back a query sees, itself included; ``None`` for all.

        Returns:
            ``[positions, heads, head_dim]``, contiguous.
        """
        ...


class StepAttention:
    """One position for each of several rows, which all end at the same column of one cache.

    Args:
        cache: The rows in sight; its window starts where the longest row does.
        lengths: How many positions each row has read, ``[rows]``.
        longest: The largest of them.
        dtype: Of the queries.
    """

    def __init__(self, cache: ColumnCache, lengths: Tensor, longest: int, dtype: torch.dtype) -> None:
        self._cache = cache
        self._lengths = lengths
        self._longest = longest
        self._dtype = dtype
        self._masks: dict[int | None, Tensor] = {}

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor, *, window: int | None) -> Tensor:
        """As `Attention.attend`."""
        all_keys, all_values = self._cache.update(keys[:, :, None], values[:, :, None], index)
        mask = self._masks.get(window)
        if mask is None:
            mask = self._masks[window] = self._mask(window)
        mixed = scaled_dot_product_attention(queries[:, :, None], all_keys, all_values, attn_mask=mask, enable_gqa=True)
        return mixed.transpose(1, 2)[:, 0]

    def _mask(self, window: int | None) -> Tensor:
        columns = torch.arange(self._longest + 1, device=self._lengths.device)
        seen = columns[None] >= self._longest - self._lengths[:, None]
        if window is not None:
            seen = seen & (columns > self._longest - window)[None]
        return _additive(seen, self._dtype)[:, None, None]


class PartsAttention:
    """The parts of several prompts, one after another along the positions, each with a cache of its own."""

    def __init__(self, parts: Sequence[RowPart], dtype: torch.dtype, device: torch.device) -> None:
        self._parts = parts
        self._dtype = dtype
        self._device = device
        self._masks: dict[tuple[int, int | None], Tensor | None] = {}

    def attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor, *, window: int | None) -> Tensor:
        """As `Attention.attend`."""
        mixed, start = [], 0
        for number, part in enumerate(self._parts):
            here = slice(start, start + part.length)
            row = (queries[here].transpose(0, 1)[None], keys[here].transpose(0, 1)[None], values[here].transpose(0, 1)[None])
            mixed.append(self._attend_part(number, index, row, window).transpose(0, 1))
            start += part.length
        return mixed[0].contiguous() if len(mixed) == 1 else torch.cat(mixed)

    def _attend_part(self, number: int, index: int, row: tuple[Tensor, Tensor, Tensor], window: int | None) -> Tensor:
        part = self._parts[number]
        queries, keys, values = row
        all_keys, all_values = part.cache.update(keys, values, index)
        place = (number, window)
        if place not in self._masks:
            self._masks[place] = self._mask(part, window)
        mask = self._masks[place]
        is_causal = mask is None and part.length > 1
        mixed = scaled_dot_product_attention(queries, all_keys, all_values, attn_mask=mask, is_causal=is_causal, enable_gqa=True)
        return mixed[0]

    def _mask(self, part: RowPart, window: int | None) -> Tensor | None:
        """``[positions, columns]``; ``None`` where every position sees all that stands before it, and nothing else does."""
        past, length = part.past_length, part.length
        reaches_all = window is None or past + length <= window
        if reaches_all and (past == 0 or length == 1):
            return None
        own = torch.arange(past, past + length, device=self._device)[:, None]
        columns = torch.arange(past + length, device=self._device)[None]
        seen = columns <= own
        if window is not None:
            seen = seen & (columns > own - window)
        return _additive(seen, self._dtype)


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Zero for what is seen, minus infinity for what is not; made once for all layers."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)


__all__ = ["Attention", "PartsAttention", "StepAttention"]
