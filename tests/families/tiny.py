"""A family's name becomes a tiny random model."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.families.sizes import EXTRA, NOT_TINY, REACH, SENSES, SMALL, TEXT, VOCAB

FAMILIES = tuple(name for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) if name not in NOT_TINY)

# Longer than the load-time self-test reads, shorter than the tests' texts: past it, only the passes themselves are right or wrong.
WINDOW = 24
# Shorter than what the self-test reads.
NEAR_WINDOW = 8


def tiny_config(family: str, window: int = WINDOW, **changes: object) -> PreTrainedConfig:
    """The smallest configuration of a family that still has every kind of layer that it has by default."""
    kind = CONFIG_MAPPING[family]
    whole: Any = kind()
    parts: dict[str, object] = {}
    if "text_config" in kind.sub_configs:
        for name in kind.sub_configs:
            part = getattr(whole, name)
            if part is not None:
                small = _small(part, window) if name == "text_config" else _known(part, SENSES)
                parts[name] = {"model_type": part.model_type, **small, **EXTRA.get(part.model_type, {})}
    return kind(**{**_small(whole, window), **parts, **EXTRA.get(family, {}), **changes})


def has_window(family: str) -> bool:
    """Whether some layers of a family may see only so far back."""
    near, far = (tiny_config(family, window).get_text_config().to_dict() for window in (NEAR_WINDOW, WINDOW))
    return near != far


def random_model(config: PreTrainedConfig) -> PreTrainedModel:
    """A model of wide random weights in float32, the same each time, whose answers depend on all it has read."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    numbers = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=numbers)
            if weight.dim() > 1:
                weight.copy_(1.5 * noise * weight[0].numel() ** -0.5)
            else:
                weight.add_(0.1 * noise)
        head: Any = model.get_output_embeddings()
        if head is not None:  # Ids that are no text are never the likeliest: their logits are half of others'.
            head.weight[TEXT:] = head.weight[: VOCAB - TEXT] / 2
    return model.eval()


def _small(whole: PreTrainedConfig, window: int) -> dict[str, object]:
    known = _fields(whole)
    small = {**SMALL, **{name: window * windows for name, windows in REACH.items()}}
    if "kv_lora_rank" in known:  # Latent attention has no groups of heads.
        small["num_key_value_heads"] = small["num_attention_heads"]
    kinds = list(dict.fromkeys(getattr(whole, "layer_types", None) or ()))
    if "layer_types" in known and len(kinds) > 1:
        small |= {"layer_types": kinds, "num_hidden_layers": len(kinds)}
    return _known(whole, small)


def _known(whole: PreTrainedConfig, small: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in small.items() if name in _fields(whole) or name in whole.attribute_map}


def _fields(whole: PreTrainedConfig) -> set[str]:
    return {field.name for field in dataclasses.fields(whole)}
