"""A tiny random model of any family that transformers generates text with."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCAB = 96
TEXT = 90  # the ids below this are text; those above may stand for an image or a sound
HIDDEN = 32
FAMILIES = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))

# Longer than the load-time self-test reads, shorter than the tests' texts: past it, only the passes themselves are right or wrong.
WINDOW = 24

# Small sizes under every name that configurations have for them; a configuration takes those that it knows.
_SMALL: dict[str, object] = {
    "vocab_size": VOCAB,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "image_token_id": 91,
    "image_token_index": 91,
    "video_token_id": 92,
    "audio_token_id": 93,
    "tie_word_embeddings": False,
    "is_decoder": True,
    "hidden_size": HIDDEN,
    "d_model": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    # Mixtures of experts.
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "shared_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "num_nextn_predict_layers": 0,
    "num_mtp_layers": 0,
    # Multi-head latent attention and its indexer.
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "index_head_dim": 8,
    "index_n_heads": 16,
    # Linear attention and state spaces.
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_heads": 4,
    "linear_head_dim": 8,
    "mamba_d_state": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_ssm": 64,
    "mamba_chunk_size": 8,
    "mamba_num_heads": 8,
    "mamba_head_dim": 8,
    "ssm_state_size": 8,
    "state_size": 8,
    "chunk_size": 8,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCAB,
    "rotary_dim": 8,
}

# What limits how far back a layer sees, and how many windows that is.
_REACH = {
    "sliding_window": 1,
    "sliding_window_size": 1,
    "attention_window_size": 1,
    "attention_chunk_size": 1,
    "local_attention": 2,
    "window_size": 1,
    "index_topk": 1,
    "indexer_budget": 1,
}
_MAMBA2: dict[str, object] = {"num_heads": 8, "n_groups": 1}
_TWO = ["sliding_attention", "full_attention"]
_TWO_WINDOWS: dict[str, object] = {"layer_types": _TWO}
_DECODER: dict[str, object] = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
# The eyes and ears of models that have them; no test here looks or listens.
_SENSES: dict[str, object] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_global_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "depth": 1,
    "num_heads": 4,
    "head_dim": 8,
    "out_hidden_size": HIDDEN,
    "image_size": 56,
    "patch_size": 14,
    "vision_output_dim": HIDDEN,
    "encoder_layers": 1,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "d_model": 32,
}

_BLT: dict[str, object] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "head_dim": 8,
    "vocab_size": VOCAB,
}

# What a family needs beside, or in place of, the small sizes.
EXTRA: dict[str, dict[str, object]] = {
    "qwen4_exp_text": {
        "indexer_n_heads": 16,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_compress_ratio": 4,
        "hc_lowrank": 8,
    },
    "xmod": {"default_language": "en_XX", "pad_token_id": 1},
    "phi4_multimodal": {
        "vision_config": _SENSES,
        "audio_config": {**_SENSES, "num_blocks": 1, "ext_pw_out_channel": 32, "nemo_conv_channels": 32},
    },
    "xlm-roberta-xl": {"pad_token_id": 1},
    "xlm-roberta": {"pad_token_id": 1},
    "roberta-prelayernorm": {"pad_token_id": 1},
    "roberta": {"pad_token_id": 1},
    "data2vec-text": {"pad_token_id": 1},
    "camembert": {"pad_token_id": 1},
    "bamba": {"attn_layer_indices": [1]},
    "bart": _DECODER,
    "bigbird_pegasus": _DECODER,
    "blenderbot": _DECODER,
    "blenderbot-small": _DECODER,
    "cpmant": {"dim_head": 8, "dim_ff": 48, "prompt_length": 4},
    "ctrl": {"dff": 48},
    "cwm": {"bos_token_id": 0, **_TWO_WINDOWS},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "dots1": {"n_shared_experts": 1},
    "blt": {
        "patcher_config": {**_BLT, "num_key_value_heads": 4},
        "encoder_config": {**_BLT, "hidden_size_global": HIDDEN},
        "decoder_config": {**_BLT, "hidden_size_global": HIDDEN},
        "global_config": {**_BLT, "hidden_size": 64, "num_attention_heads": 4},
        "encoder_hash_byte_group_vocab": 50,
        "max_position_embeddings": 512,
    },
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "deepseek_v4": {"o_groups": 2, "o_lora_rank": 8, "hc_mult": 2},
    "laguna": _TWO_WINDOWS,
    "mellum": _TWO_WINDOWS,
    "dots3_note_text": {"layer_types": ["indexed_attention"] * 2, "num_key_value_heads": 4, "shared_experts_intermediate_size": 16},
    "emu3_text_model": {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 95},
    "git": {"vision_config": _SENSES},
    "inkling_text": {"swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 8, "rel_extent": 64},
    "inkling2_text": {
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 8,
        "rel_extent": 64,
        "unpadded_vocab_size": VOCAB,
    },
    "longcat_flash": {"num_layers": 2, "zero_expert_num": 2, "expert_ffn_hidden_size": 16, "moe_topk": 2},
    "mllama_text_model": {"bos_token_id": 0, "cross_attention_layers": [1]},
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "layer_types": [*_TWO, *_TWO],
        "num_kv_shared_layers": 2,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0] * 4,
        "intermediate_size": [48] * 4,
    },
    "gemma4_text": {"pad_token_id": 0, **_TWO_WINDOWS, "global_head_dim": 8, "hidden_size_per_layer_input": 0},
    "gemma4_unified_text": {"pad_token_id": 0, **_TWO_WINDOWS, "global_head_dim": 8},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4},
    "lfm2": {"num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"]},
    "lfm2_moe": {"num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"]},
    "mamba2": _MAMBA2,
    "marian": _DECODER,
    "mbart": _DECODER,
    "modernbert-decoder": {
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": None,
        "cls_token_id": 0,
        "sep_token_id": 0,
        **_TWO_WINDOWS,
    },
    "moshi": {"ffn_dim": 96},
    "mvp": _DECODER,
    "nemotron_h": {
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "moe", "attention"],
        "n_groups": 1,
        "moe_shared_expert_intermediate_size": 16,
    },
    "pegasus": _DECODER,
    "plbart": _DECODER,
    "prophetnet": {
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "num_decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
    },
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {
        "axial_pos_shape": (16, 32),
        "axial_pos_embds_dim": (16, 16),
        "attention_head_size": 8,
        "feed_forward_size": 48,
        "attn_layers": ["local", "lsh"],
    },
    "roc_bert": {"pronunciation_embed_dim": 8, "shape_embed_dim": 8, "shape_vocab_size": 96},
    "whisper": _DECODER,
    "xlnet": {"d_head": 8, "d_inner": 48, "n_layer": 2},
    "zamba": {
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "hybrid", "mamba"],
        "attention_head_dim": 16,
        "attention_hidden_size": 64,
        "mamba_dt_rank": 4,
    },
    "zamba2": {"num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "mamba"], "attention_head_dim": 16, "adapter_rank": 8},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 8},
}


def tiny_config(family: str, window: int = WINDOW, **changes: object) -> PreTrainedConfig:
    """The smallest configuration of a family that still has every kind of layer that it has by default."""
    kind = CONFIG_MAPPING[family]
    whole: Any = kind()
    parts: dict[str, object] = {}
    if "text_config" in kind.sub_configs:
        for name in kind.sub_configs:
            part = getattr(whole, name)
            if part is not None:
                small = _small(part, window) if name == "text_config" else _known(part, _SENSES)
                parts[name] = {"model_type": part.model_type, **small, **EXTRA.get(part.model_type, {})}
    return kind(**{**_small(whole, window), **parts, **EXTRA.get(family, {}), **changes})


def has_window(family: str) -> bool:
    """Whether some layers of a family see only so far back."""
    return tiny_config(family, 24).to_dict() != tiny_config(family, 8).to_dict()


def _small(whole: PreTrainedConfig, window: int) -> dict[str, object]:
    known = _fields(whole)
    small = {**_SMALL, **{name: window * windows for name, windows in _REACH.items()}}
    if "kv_lora_rank" in known:
        small["num_key_value_heads"] = 4
    kinds = list(dict.fromkeys(getattr(whole, "layer_types", None) or ()))
    if "layer_types" in known and len(kinds) > 1:
        small |= {"layer_types": kinds, "num_hidden_layers": len(kinds)}
    return _known(whole, small)


def _known(whole: PreTrainedConfig, small: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in small.items() if name in _fields(whole) or name in whole.attribute_map}


def _fields(whole: PreTrainedConfig) -> set[str]:
    return {field.name for field in dataclasses.fields(whole)}  # type: ignore[arg-type]


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
        if head is not None:  # It never says the ids that are no text: each is half as likely as another.
            head.weight[TEXT:] = head.weight[: VOCAB - TEXT] / 2
    return model.eval()
