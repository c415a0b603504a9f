"""Each row attends to what it has read, which stands in the columns of a `ColumnCache`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.passes import RowPart


class Attention(Protocol):
    """One pass's attention."""

    def attend(self, index: int, queries: Tensor, keys_values: Tensor, *, window: int | None) -> Tensor:
        """Write the new keys and values to the cache and let the new queries look at all that is there.

        Args:
            index: The layer.
            queries: ``[positions, heads, head_dim]``.
            keys_values: ``[positions, 2, kv_heads, head_dim]``; heads share them in groups.
            window: How many positions back a query sees, itself included; ``None`` for all.

        Returns:
            ``[positions, heads * head_dim]``, in the queries' dtype.
        """
        ...


class StepAttention:
    """One position for each of several rows, which all end at the same column of one cache.

    Args:
        cache: The rows in sight; its window starts where the longest row does.
        lengths: How many positions each row has read.
        dtype: Of the cache.
        device: Where the cache is.
    """

    def __init__(self, cache: ColumnCache, lengths: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self._cache = cache
        self._lengths = lengths
        self._longest = max(lengths)
        self._dtype = dtype
        self._device = device
        self._masks: dict[int | None, Tensor | None] = {}

    def attend(self, index: int, queries: Tensor, keys_values: Tensor, *, window: int | None) -> Tensor:
        """As `Attention.attend`."""
        keys, values = self._cache.layer(index).extend(keys_values, self._dtype)
        if window not in self._masks:
            self._masks[window] = self._mask(window)
        rows, heads, dim = queries.shape
        # The heads of a group stand as if they were positions: then their keys and values are read once for all of them.
        grouped = queries.to(self._dtype).view(rows, keys.shape[1], -1, dim)
        mixed = scaled_dot_product_attention(grouped, keys, values, attn_mask=self._masks[window])
        return mixed.reshape(rows, heads * dim).to(queries.dtype)

    def _mask(self, window: int | None) -> Tensor | None:
        """``[rows, 1, 1, columns]``; ``None`` where every row sees every column."""
        longest = self._longest
        if min(self._lengths) == longest and (window is None or longest < window):
            return None
        columns = torch.arange(longest + 1, device=self._device)
        seen = columns[None] >= longest - torch.tensor(self._lengths, device=self._device)[:, None]
        if window is not None:
            seen = seen & (columns > longest - window)[None]
        return _additive(seen, self._dtype)[:, None, None]


class PartsAttention:
    """The parts of several prompts, one after another along the positions, each with a cache of its own.

    Args:
        parts: The parts; their caches are slotted ones of one row.
        dtype: Of the caches.
        device: Where they are.
    """

    def __init__(self, parts: Sequence[RowPart], dtype: torch.dtype, device: torch.device) -> None:
        self._caches = [cast("ColumnCache", part.cache) for part in parts]
        self._places = [(part.past_length, part.length) for part in parts]
        self._branches = [part.branches for part in parts]
        self._dtype = dtype
        self._device = device
        self._masks: dict[tuple[int, int | None], Tensor | None] = {}

    def attend(self, index: int, queries: Tensor, keys_values: Tensor, *, window: int | None) -> Tensor:
        """As `Attention.attend`."""
        mixed, start = [], 0
        for number, (_, length) in enumerate(self._places):
            here = slice(start, start + length)
            mixed.append(self._attend_part(number, index, (queries[here], keys_values[here]), window))
            start += length
        together = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
        return together.flatten(1).to(queries.dtype)

    def _attend_part(self, number: int, index: int, states: tuple[Tensor, Tensor], window: int | None) -> Tensor:
        """``[positions, heads, head_dim]``."""
        queries, keys_values = states
        keys, values = self._caches[number].layer(index).extend(keys_values, self._dtype)
        past, length = self._places[number]
        if (number, window) not in self._masks:
            branches = self._branches[number]
            self._masks[number, window] = branches.mask(window, self._dtype) if branches else self._mask(past, length, window)
        mask = self._masks[number, window]
        row = queries.to(self._dtype).transpose(0, 1)[None]
        is_causal = mask is None and length > 1
        return scaled_dot_product_attention(row, keys, values, attn_mask=mask, is_causal=is_causal, enable_gqa=True)[0].transpose(0, 1)

    def _mask(self, past: int, length: int, window: int | None) -> Tensor | None:
        """``[positions, columns]``; ``None`` where every position sees all that stands before it, and nothing else does."""
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
