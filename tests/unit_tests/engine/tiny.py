"""Tiny random models in float32, soft prompts for them, and what transformers itself makes of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    FalconH1Config,
    Gemma2Config,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen3NextConfig,
)

from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.passes import TransformersPasses
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import PrefixTuning, PromptTuning

VOCAB = 96
HIDDEN = 32
LAYERS = 2
WINDOW = 8
ORIGINAL_LENGTH = 64

# Wide weights and an untied head, so that greedy answers wander instead of repeating one token.
_COMMON = {
    "vocab_size": VOCAB,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
}
_SIZES = {
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
}
_CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_COMMON, **_SIZES),
    "mistral": lambda: MistralConfig(**_COMMON, **_SIZES, sliding_window=WINDOW),
    "gemma2": lambda: Gemma2Config(**_COMMON, **_SIZES, sliding_window=WINDOW, attn_implementation="eager"),
    "gpt2": lambda: GPT2Config(**_COMMON, n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=512),
    "falcon_h1": lambda: FalconH1Config(
        **_COMMON, **_SIZES, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8, mamba_chunk_size=8
    ),
    "mamba": lambda: MambaConfig(**_COMMON, hidden_size=HIDDEN, num_hidden_layers=LAYERS, state_size=4),
    "qwen3_next": lambda: Qwen3NextConfig(
        **_COMMON,
        **_SIZES,
        layer_types=["linear_attention", "full_attention"],
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        decoder_sparse_step=1,
        mlp_only_layers=[0, 1],
    ),
    "lfm2": lambda: Lfm2Config(**_COMMON, **{**_SIZES, "num_hidden_layers": 3}, layer_types=["conv", "full_attention", "conv"]),
    "phi3_longrope": lambda: Phi3Config(
        **_COMMON,
        **{name: size for name, size in _SIZES.items() if name != "head_dim"},
        original_max_position_embeddings=ORIGINAL_LENGTH,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [4.0, 8.0, 16.0, 32.0],
            "original_max_position_embeddings": ORIGINAL_LENGTH,
        },
    ),
}
MERGED = ("llama", "mistral", "gemma2", "gpt2")
SEPARATE = ("lfm2", "falcon_h1", "mamba", "qwen3_next")


def build(family: str, **changes: object) -> FrozenModel:
    """A fresh model; the same weights each time."""
    config = _CONFIGS[family]()
    for name, value in changes.items():
        setattr(config, name, value)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return FrozenModel.wrap(model, name=f"tiny-{family}")


def without_prefixes(model: FrozenModel) -> FrozenModel:
    """The same model, served as if its cache could not be continued."""
    model.reuses_prefix = False
    model.passes = TransformersPasses(model.model, is_plain=False)
    return model


@cache
def shared(family: str) -> FrozenModel:
    """One model for all tests that leave it as it is."""
    return build(family)


def embedding_prompt(length: int, seed: int = 0, *, scale: float = 1.0) -> SoftPrompt:
    """A soft prompt made of random rows."""
    rows = scale * torch.randn(length, HIDDEN, generator=torch.Generator().manual_seed(seed))
    config = PromptTuning(peft_type="PROMPT_TUNING", task_type="CAUSAL_LM", num_virtual_tokens=length, token_dim=HIDDEN)
    return SoftPrompt(config, {"prompt_embeddings": rows})


def key_value_prompt(model: FrozenModel, length: int, seed: int = 0) -> SoftPrompt:
    """A soft prompt made of random keys and values."""
    heads, dim, _ = model.key_value_shapes[0]
    width = model.num_layers * 2 * heads * dim
    config = PrefixTuning(
        peft_type="PREFIX_TUNING",
        task_type="CAUSAL_LM",
        num_virtual_tokens=length,
        token_dim=heads * dim,
        num_layers=model.num_layers,
        num_attention_heads=heads,
    )
    return SoftPrompt(config, {"prompt_embeddings": torch.randn(length, width, generator=torch.Generator().manual_seed(seed))})


def tokens(length: int, seed: int = 0) -> list[int]:
    """Random text."""
    return torch.randint(0, VOCAB, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def generate(model: FrozenModel, token_ids: Sequence[int], soft_prompt: SoftPrompt | None = None, *, new: int, **how: Any) -> list[int]:
    """What transformers' own `generate` continues with, greedy, one request alone; `how` are more of its options."""
    seeded = {}
    length = 0
    if soft_prompt is not None:
        prefix = compile_prefix(model, soft_prompt)
        length, seeded = prefix.length, {"past_key_values": prefix.to_cache(model)}
    output = model.model.generate(
        input_ids=torch.tensor([token_ids]),
        attention_mask=torch.ones(1, length + len(token_ids), dtype=torch.long),
        max_new_tokens=new,
        do_sample=False,
        pad_token_id=0,
        **seeded,
        **how,
    )
    return output[0, len(token_ids) :].tolist()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for another thread to get there; the suite's own time limit is the only one."""
    while not holds():
        time.sleep(0.001)


def wait_until_idle(engine: Engine) -> None:
    wait_until(lambda: engine.load.running == 0 and engine.load.waiting == 0)
