"""Tiny random models of the Llama-shaped families, with everything that tells them apart."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

WINDOW = 6
_SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_LAYERS = {"layer_types": ["sliding_attention", "full_attention"], "use_sliding_window": True, "sliding_window": WINDOW}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, tied embeddings": ("llama", {"tie_word_embeddings": True}),
    "llama, biases, wide heads": ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
    "llama, one head for each query": ("llama", {"num_key_value_heads": 4}),
    "llama, llama3 positions": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "llama, yarn positions": (
        "llama",
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}},
    ),
    "mistral, window": ("mistral", {"sliding_window": WINDOW}),
    "mistral, no window": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen2, window in one layer": ("qwen2", _LAYERS),
    "qwen3": ("qwen3", {"head_dim": 8}),
    "qwen3, window in one layer": ("qwen3", {"head_dim": 8, **_LAYERS}),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0]}),
    "smollm3, window in one layer": ("smollm3", {"no_rope_layers": [1, 0], **_LAYERS}),
}


def build(family: str, **changes: Any) -> PreTrainedModel:
    """A random model in float32, with norms and biases that are not all alike."""
    from transformers import AutoConfig

    model_type, extra = FAMILIES[family]
    config = AutoConfig.for_model(model_type, **{**_SHAPE, **extra, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.3 * torch.randn_like(parameter), alpha=1.0 if "norm" in name else 0.5)
    return model
