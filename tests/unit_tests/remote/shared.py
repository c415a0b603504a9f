"""Soft prompts for the tiny model, and what several tests ask."""

from __future__ import annotations

import torch

from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import Manifest, SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import read_config
from langchain_softprompt.testing import tiny_soft_prompt, tiny_tokenizer

HIDDEN = 32
IDS = tuple(tiny_tokenizer().encode("What is a soft prompt?", add_special_tokens=False))
SHORT = GenerationSettings(max_new_tokens=8)


def row_prompt(seed: int = 0, *, length: int = 5, hidden: int = HIDDEN, manifest: Manifest | None = None, scale: float = 1.0) -> SoftPrompt:
    """Prompt tuning: rows of embeddings."""
    config = read_config({"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": length, "token_dim": hidden})
    rows = scale * torch.randn(length, hidden, generator=torch.Generator().manual_seed(seed))
    return SoftPrompt(config, {"prompt_embeddings": rows}, manifest=manifest)


def p_tuning_prompt(seed: int = 1, *, length: int = 3) -> SoftPrompt:
    """P-tuning, as PEFT stores it for serving: rows of embeddings."""
    said = {"peft_type": "P_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": length, "token_dim": HIDDEN}
    config = read_config({**said, "encoder_hidden_size": HIDDEN, "num_transformer_submodules": 1})
    return SoftPrompt(config, {"prompt_embeddings": torch.randn(length, HIDDEN, generator=torch.Generator().manual_seed(seed))})


def cartridge(seed: int = 2) -> SoftPrompt:
    """The same numbers as a prefix-tuning prompt, under PEFT's newer name."""
    prefix = tiny_soft_prompt(seed)
    said = {
        "peft_type": "CARTRIDGE",
        "task_type": "CAUSAL_LM",
        "num_virtual_tokens": prefix.num_virtual_tokens,
        "token_dim": prefix.config.token_dim,
        "num_layers": prefix.config.num_layers,
        "num_attention_heads": prefix.config.num_attention_heads,
    }
    return SoftPrompt(read_config(said), prefix.tensors)


PREFIX = tiny_soft_prompt(1)
CARTRIDGE = cartridge()
KINDS: dict[str, SoftPrompt | None] = {
    "prompt tuning": row_prompt(),
    "p-tuning": p_tuning_prompt(),
    "prefix tuning": PREFIX,
    "cartridge": CARTRIDGE,
    "bare": None,
}
STORED = (PREFIX, CARTRIDGE)
