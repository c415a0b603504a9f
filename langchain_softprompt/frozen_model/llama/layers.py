"""LlamaLayer: one layer's weights, read off a transformers model; which models have this shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from langchain_softprompt.frozen_model.llama.norm import RmsNorm
from langchain_softprompt.weights import Weight, joint_weight

# RMS norm, rotary positions, grouped-query attention, gated SiLU, each as in Llama; with or without biases, norms of
# queries and keys, sliding windows, and layers without positions.
_MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})
# These change their frequencies with the length of what was read.
_MOVING_ROPE = ("dynamic", "longrope")


@dataclass(frozen=True, eq=False, slots=True)
class LlamaLayer:
    """One layer.

    Attributes:
        input_norm: The norm before attention.
        query_key_value: To ``[..., (heads + 2 * kv_heads) * head_dim]``: queries, keys, values.
        query_key_norm: Weight of the norm of queries and keys, ``[heads + kv_heads, head_dim]``; ``None`` for none.
        output: Back to the hidden size.
        feed_forward_norm: The norm before the feed-forward part.
        gate_and_up: To ``[..., 2 * intermediate_size]``.
        down: Back to the hidden size.
        window: How many positions back attention reaches, itself included; ``None`` for all.
        rotates: Whether positions are rotated into queries and keys.
    """

    input_norm: RmsNorm
    query_key_value: Weight
    query_key_norm: Tensor | None
    output: Weight
    feed_forward_norm: RmsNorm
    gate_and_up: Weight
    down: Weight
    window: int | None
    rotates: bool


def is_llama_shaped(model: nn.Module) -> bool:
    """Whether a transformers model is one of those that `LlamaLayer` describes."""
    config: Any = model.config
    if config.model_type not in _MODEL_TYPES or config.hidden_act != "silu":
        return False
    rope: Any = getattr(model.get_submodule("model"), "rotary_emb", None)
    if rope is None or str(rope.rope_type).startswith(_MOVING_ROPE):
        return False
    attention: Any = model.get_submodule("model.layers.0.self_attn")
    return bool(2 * rope.inv_freq.numel() == attention.head_dim)


def llama_layer(layer: Any, epsilon: float) -> LlamaLayer:
    """Read off one layer of a transformers model; no large weight is copied."""
    attention, feed_forward = layer.self_attn, layer.mlp
    query_key_value = joint_weight((attention.q_proj, attention.k_proj, attention.v_proj))
    return LlamaLayer(
        input_norm=RmsNorm(layer.input_layernorm.weight, epsilon, query_key_value.dtype),
        query_key_value=query_key_value,
        query_key_norm=_query_key_norm(attention, query_key_value.dtype),
        output=joint_weight((attention.o_proj,)),
        feed_forward_norm=RmsNorm(layer.post_attention_layernorm.weight, epsilon, query_key_value.dtype),
        gate_and_up=joint_weight((feed_forward.gate_proj, feed_forward.up_proj)),
        down=joint_weight((feed_forward.down_proj,)),
        window=attention_window(attention),
        rotates=bool(getattr(attention, "use_rope", True)),
    )


def _query_key_norm(attention: Any, dtype: torch.dtype) -> Tensor | None:
    if not hasattr(attention, "q_norm"):
        return None
    heads = attention.config.num_attention_heads, attention.config.num_key_value_heads
    norms = (attention.q_norm, attention.k_norm)
    return torch.cat([norm.weight.expand(count, -1) for norm, count in zip(norms, heads, strict=True)]).to(dtype)


def attention_window(attention: Any) -> int | None:
    """How many positions back a transformers attention layer reaches, itself included; ``None`` for all."""
    if hasattr(attention, "sliding_window"):
        return cast("int | None", attention.sliding_window)
    if attention.config.model_type == "mistral":  # the one family here that has a window and no name for it in its layers
        return cast("int | None", getattr(attention.config, "sliding_window", None))
    return None


__all__ = ["LlamaLayer", "attention_window", "is_llama_shaped", "llama_layer"]
