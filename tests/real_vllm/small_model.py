"""A small Llama of random weights that vLLM's CPU kernels take, with the embedded model's tokenizer, and soft prompts for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from langchain_softprompt.frozen_model.sources import find_model
from langchain_softprompt.soft_prompt import SoftPrompt

LAYERS, HEADS, WIDTH = 3, 2, 32


def save_small_model(folder: Path) -> Path:
    """Two key-value heads, so that two workers can share them."""
    embedded = find_model("embedded").folder
    folder.mkdir(parents=True)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=HEADS,
        head_dim=WIDTH,
        max_position_embeddings=512,
        initializer_range=0.15,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).float().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(embedded / name, folder / name)
    return folder


def small_soft_prompts() -> list[SoftPrompt]:
    """Keys and values shorter than a cache block, longer than one, and of exactly two."""
    made = []
    for seed, length in enumerate((7, 33, 64)):
        generator = torch.Generator().manual_seed(seed)
        made.append(SoftPrompt.of_key_values(torch.randn(length, LAYERS, 2, HEADS, WIDTH, generator=generator)))
    return made


__all__ = ["save_small_model", "small_soft_prompts"]
