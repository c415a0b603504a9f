"""Attention: over the prefix that all rows share and each row's own positions, forward and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from langchain_softprompt.likelihood.llama.layout import Asking, Block
from langchain_softprompt.likelihood.llama.rotation import Rotation


@dataclass(frozen=True, slots=True)
class Heads:
    """How queries, keys and values are cut into heads.

    Attributes:
        key_values: Heads of keys and values.
        group: Query heads that share one of them.
        size: Numbers a head.
        scale: What queries are multiplied with.
    """

    key_values: int
    group: int
    size: int
    scale: float


_softmax_back = torch.ops.aten._softmax_backward_data.default  # noqa: SLF001 - torch's own name


class KeptBlock(NamedTuple):
    """What `Attention.back` needs of a block.

    Attributes:
        queries: Turned and scaled, ``[kv_heads, rows, queries, group, size]``.
        keys: ``[kv_heads * rows, columns, size]``.
        values: As the keys.
        shares: How much each query takes of each column, ``[kv_heads, rows * queries * group, past + columns]``.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    shares: Tensor


class Gradients(NamedTuple):
    """Gradients of what attention was given; those of the batch's own positions are ``None`` where nobody asks for them."""

    queries: Tensor | None
    keys: Tensor | None
    values: Tensor | None
    past_keys: Tensor
    past_values: Tensor


class Attention:
    """Those who ask in a layer look at the prefix and at what stands before them in their own row.

    The prefix meets all rows of a block in one product, and so does its gradient. Everything here is float32 at least.

    Args:
        asking: Who looks at what.
        past: Positions of the prefix.
        heads: How heads are cut.
        turning: What turns keys at all positions, ``[positions, 1, size]``.
        angles: Cosines and sines for each depth, ``[depths, size]``.
    """

    def __init__(self, asking: Asking, past: int, heads: Heads, turning: Rotation, angles: tuple[Tensor, Tensor]) -> None:
        self._asking = asking
        self._past = past
        self._heads = heads
        self._turning = turning
        half = heads.size // 2
        self._turning_of = [
            Rotation(
                (angles[0][block.depths] * heads.scale)[None, :, :, None],
                (angles[1][block.depths] * heads.scale)[None, :, :, None, :half],
            )
            for block in asking.blocks
        ]
        self._masks: dict[tuple[int, int | None], Tensor] = {}

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, past: tuple[Tensor, Tensor], *, window: int | None, turns: bool
    ) -> tuple[Tensor, list[KeptBlock]]:
        """Attend.

        Args:
            queries: Of those who ask, ``[asking, kv_heads * group * size]``.
            keys: Of all positions, ``[positions, kv_heads * size]``.
            values: As the keys.
            past: Keys and values of the prefix, each ``[kv_heads, past, size]``, already turned.
            window: How many positions back a query sees, itself included; ``None`` for all.
            turns: Whether positions are turned into queries and keys.

        Returns:
            ``[asking, kv_heads * group * size]``, and what `back` needs.
        """
        if turns:
            split = keys.view(len(keys), self._heads.key_values, self._heads.size)
            keys = self._turning.turn(split, torch.empty_like(split)).view_as(keys)
        mixed, kept = torch.empty_like(queries), []
        for number, block in enumerate(self._asking.blocks):
            asked = self._padded_queries(block, queries)
            turned = asked.new_empty(asked.shape)
            (self._turning_of[number].turn if turns else self._rescale)(asked, turned)
            own = KeptBlock(turned, self._columns(block, keys), self._columns(block, values), self._scores(block, past[0]))
            self._score(own, past[0])
            self._hide(own.shares, number, window)
            kept.append(own._replace(shares=own.shares.softmax(dim=-1)))
            self._write(block, self._mix(kept[-1], past[1]), mixed, _copy)
        return mixed, kept

    def back(self, gradient: Tensor, kept: list[KeptBlock], past: tuple[Tensor, Tensor], *, turns: bool, own_too: bool) -> Gradients:
        """From the gradient of what `forward` returned to those of what it was given.

        Args:
            gradient: ``[asking, kv_heads * group * size]``.
            kept: What `forward` kept.
            past: As in `forward`.
            turns: As in `forward`.
            own_too: Whether gradients of the batch's own positions are wanted, beside those of the prefix.
        """
        heads, length = self._heads, self._past
        past_keys, past_values = torch.zeros_like(past[0]), torch.zeros_like(past[1])
        queries = torch.empty_like(gradient) if own_too else None
        keys, values = [], []
        for number, (block, own) in enumerate(zip(self._asking.blocks, kept, strict=True)):
            mixed = self._padded_gradient(block, gradient)
            by_head, by_row = mixed.view(heads.key_values, -1, heads.size), mixed.view(len(own.keys), -1, heads.size)
            past_values += torch.bmm(own.shares[..., :length].transpose(1, 2), by_head)
            by_share = torch.empty_like(own.shares)
            torch.bmm(by_head, past[1].transpose(1, 2), out=by_share[..., :length])
            torch.bmm(by_row, own.values.transpose(1, 2), out=self._by_row(own, by_share)[..., length:])
            by_score = _softmax_back(by_share, own.shares, -1, by_share.dtype)
            past_keys += torch.bmm(by_score[..., :length].transpose(1, 2), own.queries.view(heads.key_values, -1, heads.size))
            if queries is None:
                continue
            values.append(self._rows_first(block, torch.bmm(self._by_row(own, own.shares)[..., length:].transpose(1, 2), by_row)))
            own_scores = self._by_row(own, by_score)[..., length:]
            keys.append(self._rows_first(block, torch.bmm(own_scores.transpose(1, 2), own.queries.view_as(by_row))))
            turned = torch.bmm(by_score[..., :length], past[0])
            turned.view_as(by_row).baddbmm_(own_scores, own.keys)
            self._write(block, turned, queries, self._turning_of[number].turn_back if turns else self._rescale)
        if queries is None:
            return Gradients(None, None, None, past_keys, past_values)
        together, values_together = self._gather(keys), self._gather(values)
        if turns:
            split = together.view(len(together), heads.key_values, heads.size)
            together = self._turning.turn_back(split, torch.empty_like(split)).view_as(together)
        return Gradients(queries, together, values_together, past_keys, past_values)

    def _padded_queries(self, block: Block, queries: Tensor) -> Tensor:
        """``[kv_heads, rows, queries, group, size]``, a view where there is no padding."""
        heads, rows = self._heads, queries[block.start : block.end]
        if block.padded is not None:
            rows = rows.index_select(0, block.padded)
        return rows.view(block.rows, block.queries, heads.key_values, heads.group, heads.size).permute(2, 0, 1, 3, 4)

    def _padded_gradient(self, block: Block, gradient: Tensor) -> Tensor:
        """As `_padded_queries`, in memory of its own, with nothing coming from the padding."""
        heads, rows = self._heads, gradient[block.start : block.end]
        if block.places is not None:
            rows = gradient.new_zeros(block.rows * block.queries, gradient.shape[1]).index_copy_(0, block.places, rows)
        return rows.view(block.rows, block.queries, heads.key_values, heads.group, heads.size).permute(2, 0, 1, 3, 4).contiguous()

    def _columns(self, block: Block, states: Tensor) -> Tensor:
        """Keys or values of a block's rows, ``[kv_heads * rows, columns, size]``."""
        heads = self._heads
        gathered = states.index_select(0, block.nodes).view(block.rows, block.columns, heads.key_values, heads.size)
        return gathered.permute(2, 0, 1, 3).reshape(heads.key_values * block.rows, block.columns, heads.size)

    def _rows_first(self, block: Block, states: Tensor) -> Tensor:
        """The way back from `_columns`, ``[rows * columns, kv_heads * size]``."""
        heads = self._heads
        split = states.view(heads.key_values, block.rows, block.columns, heads.size)
        return split.permute(1, 2, 0, 3).reshape(block.rows * block.columns, heads.key_values * heads.size)

    def _gather(self, blocks: list[Tensor]) -> Tensor:
        """Gradients at the columns of all blocks to those of the positions that stand there."""
        columns = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        states = columns.index_select(0, self._asking.owner)
        if len(self._asking.unseen):
            states.index_fill_(0, self._asking.unseen, 0.0)
        places, nodes = self._asking.repeats
        return states.index_add_(0, nodes, columns.index_select(0, places)) if len(nodes) else states

    def _scores(self, block: Block, like: Tensor) -> Tensor:
        heads = self._heads
        return like.new_empty(heads.key_values, block.rows * block.queries * heads.group, self._past + block.columns)

    def _by_row(self, own: KeptBlock, states: Tensor) -> Tensor:
        """Shares or their gradients, ``[kv_heads * rows, queries * group, past + columns]``."""
        return states.view(len(own.keys), -1, states.shape[-1])

    def _score(self, own: KeptBlock, past_keys: Tensor) -> None:
        heads = self._heads
        torch.bmm(own.queries.view(heads.key_values, -1, heads.size), past_keys.transpose(1, 2), out=own.shares[..., : self._past])
        rows = own.queries.view(len(own.keys), -1, heads.size)
        torch.bmm(rows, own.keys.transpose(1, 2), out=self._by_row(own, own.shares)[..., self._past :])

    def _mix(self, own: KeptBlock, past_values: Tensor) -> Tensor:
        """``[kv_heads, rows * queries * group, size]``."""
        mixed = torch.bmm(own.shares[..., : self._past], past_values)
        mixed.view(len(own.keys), -1, self._heads.size).baddbmm_(self._by_row(own, own.shares)[..., self._past :], own.values)
        return mixed

    def _write(self, block: Block, states: Tensor, to: Tensor, how: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Put heads back where queries stood; `how` takes them and their place, both ``[kv_heads, rows, queries, group, size]``."""
        heads = self._heads
        rows = to[block.start : block.end] if block.places is None else to.new_empty(block.rows * block.queries, to.shape[1])
        there = rows.view(block.rows, block.queries, heads.key_values, heads.group, heads.size).permute(2, 0, 1, 3, 4)
        how(states.view(there.shape), there)
        if block.places is not None:
            torch.index_select(rows, 0, block.places, out=to[block.start : block.end])

    def _rescale(self, states: Tensor, out: Tensor) -> Tensor:
        return torch.mul(states, self._heads.scale, out=out)

    def _hide(self, scores: Tensor, number: int, window: int | None) -> None:
        """Take what a query must not see out of its scores."""
        block, heads = self._asking.blocks[number], self._heads
        if (number, window) not in self._masks:
            self._masks[number, window] = self._mask(block, window, scores)
        mask = self._masks[number, window]
        split = scores.view(heads.key_values, block.rows, block.queries, heads.group, -1)
        split[..., split.shape[-1] - mask.shape[-1] :] += mask

    def _mask(self, block: Block, window: int | None, like: Tensor) -> Tensor:
        """Zero for what is seen and minus infinity for what is not, ``[rows, queries, 1, columns]``; the prefix with it where need be."""
        first = -self._past if window is not None and self._past + block.columns > window else 0
        columns = torch.arange(first, block.columns, device=like.device)
        depths = block.depths[..., None]
        seen = columns <= depths
        if first or window is not None:
            seen = seen & (columns > depths - (window or 0))
        return torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill_(~seen, -torch.inf)[:, :, None]


def _copy(states: Tensor, out: Tensor) -> Tensor:
    return out.copy_(states)


__all__ = ["Attention", "Gradients", "Heads", "KeptBlock"]
