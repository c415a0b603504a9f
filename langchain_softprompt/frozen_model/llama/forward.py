"""LlamaForward: one pass of a Llama-shaped model, in few and large operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.llama.attention import Attention, PartsAttention, StepAttention
from langchain_softprompt.frozen_model.llama.layers import LlamaLayer, is_llama_shaped, llama_layer, multiply
from langchain_softprompt.frozen_model.passes import RowPart, part_embeddings


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
        self._layers: list[LlamaLayer] = [llama_layer(layer) for layer in base.layers]
        self._embedding = base.embed_tokens
        self._rotary = base.rotary_emb
        self._norm = base.norm.weight
        self._head = multiply(model.get_submodule("lm_head"))
        config: Any = model.config
        self._epsilon: float = config.rms_norm_eps
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
        hidden = self._pass(embeds, positions, PartsAttention(parts, embeds.dtype, embeds.device))
        ends = torch.tensor([part.length for part in parts]).cumsum(0) - 1
        asked = [number for number, part in enumerate(parts) if part.wants_logits]
        logits = self._logits(hidden[ends[asked].to(hidden.device)]) if asked else hidden
        for part in parts:
            if isinstance(part.cache, ColumnCache):
                part.cache.window.end += part.length
        found = dict(zip(asked, logits, strict=False))
        return [found.get(number) for number in range(len(parts))]

    def step(self, input_ids: Tensor, cache: ColumnCache, lengths: Sequence[int]) -> Tensor:
        """Let several rows read one more position each; see `Passes.step`."""
        embeds: Tensor = self._embedding(input_ids[:, 0])
        longest = max(lengths)
        cache.window.start = cache.window.end - longest
        positions = torch.tensor(lengths, device=embeds.device)
        return self._logits(self._pass(embeds, positions, StepAttention(cache, positions, longest, embeds.dtype)))

    def _pass(self, hidden: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """All layers, over ``[positions, hidden_size]``."""
        cos, sin = self._rotary(hidden, position_ids=positions[None])
        half = sin.shape[-1] // 2
        cos, sin = cos[0, :, None], torch.cat([-sin[0, :, None, :half], sin[0, :, None, half:]], dim=-1)
        for index, layer in enumerate(self._layers):
            hidden = hidden + self._attend(index, layer, self._normed(hidden, layer.input_norm), cos, sin, attention)
            gate, up = layer.gate_and_up(self._normed(hidden, layer.feed_forward_norm)).chunk(2, dim=-1)
            hidden = hidden + layer.down(silu(gate) * up)
        return hidden

    def _attend(self, index: int, layer: LlamaLayer, normed: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
        heads, both = self._heads, self._heads + self._kv_heads
        states = layer.query_key_value(normed).view(normed.shape[0], both + self._kv_heads, self._head_dim)
        looking, values = states[:, :both], states[:, both:]
        if layer.query_key_norm is not None:
            looking = rms_norm(looking, (self._head_dim,), None, self._epsilon) * layer.query_key_norm
        if layer.rotates:  # halves swapped, the sign in the sines: what transformers calls rotate_half
            looking = torch.addcmul(looking * cos, looking.roll(self._head_dim // 2, dims=-1), sin)
        mixed = attention.attend(index, looking[:, :heads], looking[:, heads:], values, window=layer.window)
        return layer.output(mixed.reshape(normed.shape[0], heads * self._head_dim))

    def _normed(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return rms_norm(hidden, weight.shape, weight, self._epsilon)

    def _logits(self, hidden: Tensor) -> Tensor:
        return self._head(self._normed(hidden, self._norm))


__all__ = ["LlamaForward"]
