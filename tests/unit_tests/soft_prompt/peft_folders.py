"""Soft-prompt folders that PEFT itself made, for tiny random models in float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from peft import (
    CartridgeConfig,
    CPTConfig,
    MultitaskPromptTuningConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen3Config,
)

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KVPrefix

VOCAB = 96
HIDDEN = 32
LAYERS = 3
WINDOW = 8
HYBRID = "lfm2"  # convolutions beside attention: it cannot continue from a prefix
VIRTUAL_TOKENS = 5
TASKS = 3
TEXT_TOKENS = 14  # with the virtual tokens, and alone, longer than the sliding window

# Wide weights and an untied head, so that what stands before a token shows in the logits.
_COMMON = {
    "vocab_size": VOCAB,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
}
_SIZES = {
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,  # not hidden size over heads: the two must not be mixed up
    "max_position_embeddings": 64,
}

MODELS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_COMMON, **_SIZES),
    "qwen3": lambda: Qwen3Config(**_COMMON, **_SIZES),
    "mistral": lambda: MistralConfig(**_COMMON, **_SIZES, sliding_window=WINDOW),
    "gemma2": lambda: Gemma2Config(**_COMMON, **_SIZES, sliding_window=WINDOW, attn_implementation="eager"),
    "gemma3": lambda: Gemma3TextConfig(
        **_COMMON, **_SIZES, sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention", "sliding_attention"]
    ),
    "lfm2": lambda: Lfm2Config(**_COMMON, **_SIZES, layer_types=["conv", "full_attention", "conv"]),
    "phi3": lambda: Phi3Config(**_COMMON, **{**_SIZES, "head_dim": 8}),
    "gpt2": lambda: GPT2Config(**_COMMON, n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=64),
    "opt": lambda: OPTConfig(
        **{**_COMMON, "pad_token_id": 1},
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=64,
        word_embed_proj_dim=HIDDEN,
        ffn_dim=48,
        init_std=0.2,
    ),
}

_COUNT = {"task_type": "CAUSAL_LM", "num_virtual_tokens": VIRTUAL_TOKENS}
KINDS: dict[str, Callable[[], PeftConfig]] = {
    "PROMPT_TUNING": lambda: PromptTuningConfig(**_COUNT),
    "P_TUNING-MLP": lambda: PromptEncoderConfig(**_COUNT, encoder_hidden_size=24),
    "P_TUNING-LSTM": lambda: PromptEncoderConfig(
        **_COUNT, encoder_reparameterization_type="LSTM", encoder_hidden_size=24, encoder_num_layers=1
    ),
    "CPT": lambda: CPTConfig(
        task_type="CAUSAL_LM",
        cpt_token_ids=[7, 3, 9, 1, 4],
        cpt_mask=[1] * VIRTUAL_TOKENS,
        cpt_tokens_type_mask=[1, 2, 3, 4, 2],
        opt_projection_epsilon=50.0,
        opt_projection_format_epsilon=50.0,
    ),
    "MULTITASK_PROMPT_TUNING": lambda: MultitaskPromptTuningConfig(**_COUNT, num_tasks=TASKS, num_ranks=2),
    "PREFIX_TUNING": lambda: PrefixTuningConfig(**_COUNT),
    "PREFIX_TUNING-projection": lambda: PrefixTuningConfig(**_COUNT, prefix_projection=True, encoder_hidden_size=24),
    "CARTRIDGE": lambda: CartridgeConfig(**_COUNT, num_frozen_tokens=2),
}


@cache
def frozen(family: str, seed: int = 7, dtype: torch.dtype = torch.float32) -> FrozenModel:
    """One model a family for all tests; the same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(MODELS[family](), dtype=torch.float32)
    return FrozenModel.wrap(model.to(dtype), name=f"tiny-{family}")


def save_with_peft(folder: Path, kind: str, model: FrozenModel, *, seed: int = 0, virtual_tokens: int = VIRTUAL_TOKENS) -> Path:
    """Make an adapter with PEFT, give its trained tensors random values of a big effect, save it with PEFT."""
    config = KINDS[kind]()
    if virtual_tokens != VIRTUAL_TOKENS:
        config.num_virtual_tokens = virtual_tokens
    adapted = get_peft_model(model.model, config)
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.prompt_encoder.parameters():
            parameter.normal_(0.0, 0.7, generator=numbers)
    adapted.save_pretrained(str(folder))
    return folder


@torch.inference_mode()
def peft_logits(model: FrozenModel, folder: Path, token_ids: list[int], task: int | None = None) -> Tensor:
    """What PEFT computes for one row, ``[text, vocab]``: the oracle."""
    loaded = PeftModel.from_pretrained(model.model, str(folder)).eval()
    ids = torch.tensor([token_ids])
    extra = {} if task is None else {"task_ids": torch.tensor([task])}
    logits: Tensor = loaded(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).logits[0]
    return logits[-len(token_ids) :].float()


def logits_after(model: FrozenModel, prefix: KVPrefix | None, token_ids: list[int]) -> Tensor:
    """What the frozen model computes after a compiled prefix, read token by token, ``[text, vocab]``."""
    cache, past = (prefix.to_cache(model), prefix.length) if prefix else (model.new_cache(), 0)
    steps = [model.forward(input_ids=torch.tensor([[token]]), cache=cache, past_length=past + at) for at, token in enumerate(token_ids)]
    return torch.stack(steps)


def logits_at_once(model: FrozenModel, prefix: KVPrefix | None, token_ids: list[int]) -> Tensor:
    """The last of them, the whole text read in one pass."""
    cache, past = (prefix.to_cache(model), prefix.length) if prefix else (model.new_cache(), 0)
    if prefix is not None and prefix.embeddings is not None:  # a model that can't continue from a prefix
        embeds = torch.cat([prefix.embeddings, model.embed(torch.tensor(token_ids))])
        return model.forward(inputs_embeds=embeds[None], cache=cache, past_length=0)
    return model.forward(input_ids=torch.tensor([token_ids]), cache=cache, past_length=past)


def text(length: int = TEXT_TOKENS, seed: int = 0) -> list[int]:
    """Random token ids."""
    return torch.randint(2, VOCAB, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def task_of(kind: str) -> int | None:
    """A task to ask for, where the type has tasks."""
    return 1 if kind.startswith("MULTITASK") else None
