"""LlamaForward: one pass of a Llama-shaped model, in few and large operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.llama.attention import Attention, PartsAttention, StepAttention
from langchain_softprompt.frozen_model.llama.layers import LlamaLayer, is_llama_shaped, llama_layer
from langchain_softprompt.frozen_model.llama.norm import RmsNorm
from langchain_softprompt.frozen_model.passes import RowPart, part_embeddings
from langchain_softprompt.weights import joint_weight


class LlamaForward:
    """Reads rows as transformers' own forward does (in float32 within rounding), several times quicker for a few positions.

    A transformers layer is some seventy small operations, each a few microseconds of bookkeeping, which on a CPU is a
    third of a small model's step. Here queries, keys and values come from one product, as do gate and up; masks and
    rotations are made once for all layers; heads that share keys are not copied. And since only attention knows where a
    row ends, the prompts of several requests are read in one pass without padding.

    Args:
        model: A transformers model for which `is_llama_shaped` holds. Its weights are shared, not copied.
    """

    def __init__(self, model: nn.Module) -> None:
        self.reads_together = True
        base: Any = model.get_submodule("model")
        config: Any = model.config
        self._epsilon: float = config.rms_norm_eps
        self._layers: list[LlamaLayer] = [llama_layer(layer, self._epsilon) for layer in base.layers]
        self._embedding = base.embed_tokens
        self._rotary = base.rotary_emb
        self._head = joint_weight((model.get_submodule("lm_head"),))
        # What is computed with, and what keys and values are kept as. They differ where a product wants float32.
        self._dtype = self._layers[0].query_key_value.dtype
        self._cache_dtype: torch.dtype = base.embed_tokens.weight.dtype
        self._norm = RmsNorm(base.norm.weight, self._epsilon, self._dtype)
        self._heads: int = config.num_attention_heads
        self._kv_heads: int = config.num_key_value_heads
        self._head_dim: int = base.layers[0].self_attn.head_dim

    @classmethod
    def of(cls, model: nn.Module) -> Self | None:
        """The forward for a transformers model; ``None`` for one of another shape."""
        return cls(model) if is_llama_shaped(model) else None

    def read(self, parts: Sequence[RowPart]) -> list[Tensor | None]:
        """Read parts of several rows in one pass; see `Passes.read`."""
        embeds = torch.cat([part_embeddings(part, self._embedding) for part in parts])
        positions = torch.cat([part.positions() for part in parts])
        hidden = self._pass(embeds.to(self._dtype), positions, PartsAttention(parts, self._cache_dtype, embeds.device))
        asked, first = {}, 0
        for number, part in enumerate(parts):
            if part.wants_all or part.wants_logits:
                asked[number] = slice(first if part.wants_all else first + part.length - 1, first + part.length)
            first += part.length
        found = self._logits(hidden, list(asked.values()))
        for part in parts:
            cast("ColumnCache", part.cache).window.end += part.length
        by_part = {number: logits if parts[number].wants_all else logits[0] for number, logits in zip(asked, found, strict=True)}
        return [by_part.get(number) for number in range(len(parts))]

    def _logits(self, hidden: Tensor, places: Sequence[slice]) -> Sequence[Tensor]:
        """The logits at several places, from one product."""
        if not places:
            return ()
        wanted = hidden[places[0]] if len(places) == 1 else torch.cat([hidden[place] for place in places])
        logits = self._head.multiply(self._norm(wanted))
        return torch.split(logits, [place.stop - place.start for place in places])

    def step(self, input_ids: Tensor, cache: ColumnCache, lengths: Sequence[int]) -> Tensor:
        """Let several rows read one more position each; see `Passes.step`."""
        embeds: Tensor = self._embedding(input_ids[:, 0])
        cache.window.start = cache.window.end - max(lengths)
        positions = torch.tensor(lengths, device=embeds.device)
        attention = StepAttention(cache, lengths, self._cache_dtype, embeds.device)
        return self._head.multiply(self._norm(self._pass(embeds.to(self._dtype), positions, attention)))

    def _pass(self, hidden: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """All layers, over ``[positions, hidden_size]``."""
        rotation = self._rotation(hidden, positions)
        for index, layer in enumerate(self._layers):
            mixed = self._attend(index, layer, layer.input_norm(hidden), rotation, attention)
            hidden = layer.output.multiply_add(mixed, hidden)
            gate, up = layer.gate_and_up.multiply(layer.feed_forward_norm(hidden)).chunk(2, dim=-1)
            hidden = layer.down.multiply_add(silu(gate) * up, hidden)
        return hidden

    def _rotation(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for all layers, each ``[positions, 1, head_dim]``; the sign of rotate_half is in the sines."""
        cos, sin = self._rotary(hidden, position_ids=positions[None])
        half = sin.shape[-1] // 2
        return cos[0, :, None], torch.cat([-sin[0, :, None, :half], sin[0, :, None, half:]], dim=-1)

    def _attend(self, index: int, layer: LlamaLayer, normed: Tensor, rotation: tuple[Tensor, Tensor], attention: Attention) -> Tensor:
        positions, heads, both = normed.shape[0], self._heads, self._heads + self._kv_heads
        states = layer.query_key_value.multiply(normed).view(positions, both + self._kv_heads, self._head_dim)
        looking = here = states[:, :both]
        if layer.query_key_norm is not None:
            looking = rms_norm(looking, (self._head_dim,), None, self._epsilon) * layer.query_key_norm
        if layer.rotates:
            cos, sin = rotation
            torch.addcmul(looking * cos, looking.roll(self._head_dim // 2, dims=-1), sin, out=here)
        elif looking is not here:
            here.copy_(looking)
        keys_values = states[:, heads:].view(positions, 2, self._kv_heads, self._head_dim)
        return attention.attend(index, states[:, :heads], keys_values, window=layer.window)


__all__ = ["LlamaForward"]
