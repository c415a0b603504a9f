"""FrozenLayer: one layer, forward and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from langchain_softprompt.frozen_model.llama.layers import attention_window
from langchain_softprompt.likelihood.llama.attention import Attention, KeptBlock
from langchain_softprompt.likelihood.llama.norm import FrozenNorm

_silu_back = torch.ops.aten.silu_backward.default


class Kept(NamedTuple):
    """What `FrozenLayer.back` needs: hidden states before both parts, the norms' scales, and what is not linear.

    Attributes:
        hidden: ``[positions, hidden_size]``.
        scale: Of the norm before attention.
        query_scale: Of the norm of queries, with
        queries: what went into it; ``None`` where there is no such norm.
        key_scale: The same of keys.
        keys: The same.
        middle: Between attention and the feed-forward part, of those who ask.
        middle_scale: Of the norm there.
        gate: ``[asking, intermediate_size]``.
        up: As the gate.
        blocks: What attention keeps.
    """

    hidden: Tensor
    scale: Tensor
    query_scale: Tensor | None
    queries: Tensor | None
    key_scale: Tensor | None
    keys: Tensor | None
    middle: Tensor
    middle_scale: Tensor
    gate: Tensor
    up: Tensor
    blocks: tuple[KeptBlock, ...]

    def flat(self) -> list[Tensor | None]:
        """All tensors, for autograd to hold."""
        return [*self[:-1], *(tensor for block in self.blocks for tensor in block)]

    @classmethod
    def from_flat(cls, tensors: Sequence[Any]) -> Kept:
        """And back."""
        own, size = len(cls._fields) - 1, len(KeptBlock._fields)
        blocks = tuple(KeptBlock(*tensors[at : at + size]) for at in range(own, len(tensors), size))
        return cls._make([*tensors[:own], blocks])


class FrozenLayer:
    """One layer of a Llama-shaped transformers model. Its weights are shared, not copied, and get no gradients.

    Args:
        layer: The transformers layer; its linear layers may be packed, but then there is no way `back`.
        epsilon: Of its norms.
    """

    def __init__(self, layer: Any, epsilon: float) -> None:
        attention, feed_forward = layer.self_attn, layer.mlp
        self._norm = FrozenNorm(layer.input_layernorm.weight, epsilon)
        self._query, self._key, self._value = attention.q_proj, attention.k_proj, attention.v_proj
        self._query_norm, self._key_norm = (
            FrozenNorm(getattr(attention, name).weight, epsilon) if hasattr(attention, name) else None for name in ("q_norm", "k_norm")
        )
        self._output = attention.o_proj
        self._middle_norm = FrozenNorm(layer.post_attention_layernorm.weight, epsilon)
        self._gate, self._up, self._down = feed_forward.gate_proj, feed_forward.up_proj, feed_forward.down_proj
        self._window = attention_window(attention)
        self._turns = bool(getattr(attention, "use_rope", True))
        self._size: int = attention.head_dim

    @property
    def learns(self) -> bool:
        """Whether there is a way `back`."""
        linears = (self._query, self._key, self._value, self._output, self._gate, self._up, self._down)
        return all(type(linear) is nn.Linear for linear in linears)

    def forward(self, hidden: Tensor, attention: Attention, nodes: Tensor | None, past: tuple[Tensor, Tensor]) -> tuple[Tensor, Kept]:
        """Read.

        Args:
            hidden: Of all positions, ``[positions, hidden_size]``.
            attention: How those who ask attend.
            nodes: Who they are; ``None`` for all.
            past: Keys and values of the prefix in this layer.

        Returns:
            ``[asking, hidden_size]``, and what `back` needs.
        """
        normed, scale = self._norm.forward(hidden)
        queries, query_scale, before_query = self._normed(self._query(_taken(normed, nodes)), self._query_norm)
        keys, key_scale, before_key = self._normed(self._key(normed), self._key_norm)
        mixed, blocks = attention.forward(
            _wide(queries), _wide(keys), _wide(self._value(normed)), past, window=self._window, turns=self._turns
        )
        middle = self._output(mixed.to(hidden.dtype)).add_(_taken(hidden, nodes))
        normed, middle_scale = self._middle_norm.forward(middle)
        gate, up = self._gate(normed), self._up(normed)
        after = self._down(silu(gate).mul_(up)).add_(middle)
        kept = Kept(hidden, scale, query_scale, before_query, key_scale, before_key, middle, middle_scale, gate, up, tuple(blocks))
        return after, kept

    def back(
        self, gradient: Tensor, kept: Kept, attention: Attention, nodes: Tensor | None, past: tuple[Tensor, Tensor], *, own_too: bool
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """From the gradient of what `forward` returned to those of the hidden states and of the prefix.

        Args:
            gradient: ``[asking, hidden_size]``.
            kept: What `forward` kept.
            attention: As in `forward`.
            nodes: As in `forward`.
            past: As in `forward`.
            own_too: Whether the gradient of the hidden states is wanted.

        Returns:
            Gradients of hidden states (or ``None``), of the prefix's keys and of its values.
        """
        product = gradient @ self._down.weight
        by_up = silu(kept.gate).mul_(product)
        by_gate = _silu_back(product.mul_(kept.up), kept.gate)
        normed = (by_gate @ self._gate.weight).addmm_(by_up, self._up.weight)
        middle = self._middle_norm.back(normed, kept.middle, kept.middle_scale).add_(gradient)
        states = attention.back(_wide(middle @ self._output.weight), list(kept.blocks), past, turns=self._turns, own_too=own_too)
        if states.queries is None or states.keys is None or states.values is None:
            return None, states.past_keys, states.past_values
        dtype = gradient.dtype
        queries = self._back_through(states.queries.to(dtype), self._query_norm, kept.queries, kept.query_scale) @ self._query.weight
        keys = self._back_through(states.keys.to(dtype), self._key_norm, kept.keys, kept.key_scale)
        normed = (keys @ self._key.weight).addmm_(states.values.to(dtype), self._value.weight)
        hidden = self._norm.back(_added(normed, nodes, queries), kept.hidden, kept.scale)
        return _added(hidden, nodes, middle), states.past_keys, states.past_values

    def _normed(self, states: Tensor, norm: FrozenNorm | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Queries or keys, the scale of their norm, and what they were before it."""
        if norm is None:
            return states, None, None
        split = states.view(len(states), -1, self._size)
        normed, scale = norm.forward(split)
        return normed.view_as(states), scale, split

    def _back_through(self, gradient: Tensor, norm: FrozenNorm | None, before: Tensor | None, scale: Tensor | None) -> Tensor:
        if norm is None or before is None or scale is None:
            return gradient
        return norm.back(gradient.view_as(before), before, scale).view_as(gradient)


def _taken(states: Tensor, nodes: Tensor | None) -> Tensor:
    return states if nodes is None else states.index_select(0, nodes)


def _added(states: Tensor, nodes: Tensor | None, more: Tensor) -> Tensor:
    return states.add_(more) if nodes is None else states.index_add_(0, nodes, more)


def _wide(states: Tensor) -> Tensor:
    return states.float() if states.dtype in (torch.bfloat16, torch.float16) else states


__all__ = ["FrozenLayer", "Kept"]
