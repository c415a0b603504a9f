"""A random chat model of a few thousand weights, its tokenizer, and soft prompts for it. What it says makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.soft_prompt import Manifest, SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import read_config

# The layout that many open models use, without a system message of its own.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIAL_TOKENS = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
_PRINTABLE = range(32, 127)
_HIDDEN_SIZE, _LAYERS, _KV_HEADS, _HEAD_DIM = 32, 2, 2, 8


def tiny_tokenizer(*, chat_template: str = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes: each byte of UTF-8 is one token, so most characters outside ASCII are several."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={character: index for index, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **_SPECIAL_TOKENS)
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = chat_template
    return fast


def tiny_model(seed: int = 0, *, max_positions: int = 2048, name: str = "tiny", tokenizer: Any = None) -> FrozenModel:
    """A random Llama in float32 on the CPU that writes printable ASCII until it reaches ``max_tokens``.

    Args:
        seed: Models of one seed are the same, of different seeds are different.
        max_positions: Its context window in tokens.
        name: What it is called.
        tokenizer: A tokenizer in place of `tiny_tokenizer`, with no more tokens than that.
    """
    return FrozenModel.wrap(_random_llama(seed, max_positions), tokenizer or tiny_tokenizer(), name=name)


def save_tiny_model(folder: str | Path, seed: int = 0, *, max_positions: int = 2048) -> Path:
    """Write the same model as a folder for `FrozenModel.load` or ``ChatSoftPrompt(model=folder)``."""
    path = Path(folder)
    _random_llama(seed, max_positions).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def tiny_soft_prompt(seed: int = 0, *, virtual_tokens: int = 4, manifest: Manifest | None = None, source: str = "in-memory") -> SoftPrompt:
    """A random soft prompt for `tiny_model`, strong enough that other seeds give other answers.

    Args:
        seed: Soft prompts of one seed are the same, of different seeds are different.
        virtual_tokens: Its length.
        manifest: What it should say about itself, for instance which model it was made for.
        source: What it is called.
    """
    config = read_config(
        {
            "peft_type": "PREFIX_TUNING",
            "task_type": "CAUSAL_LM",
            "num_virtual_tokens": virtual_tokens,
            "token_dim": _KV_HEADS * _HEAD_DIM,
            "num_layers": _LAYERS,
            "num_attention_heads": _KV_HEADS,
        }
    )
    numbers = torch.Generator().manual_seed(seed)
    rows = 8 * torch.randn(virtual_tokens, _LAYERS * 2 * _KV_HEADS * _HEAD_DIM, generator=numbers)
    return SoftPrompt(config, {"prompt_embeddings": rows}, manifest=manifest, source=source)


def _random_llama(seed: int, max_positions: int) -> LlamaForCausalLM:
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=_HIDDEN_SIZE,
        intermediate_size=64,
        num_hidden_layers=_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=_KV_HEADS,
        head_dim=_HEAD_DIM,
        max_position_embeddings=max_positions,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.float32,
    )
    with torch.random.fork_rng(devices=[]):
        model = LlamaForCausalLM(config)
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:  # wide enough that the context decides the next token
                weight.normal_(0.0, 1.5 * weight.shape[1] ** -0.5, generator=numbers)
        printable = tokenizer.convert_tokens_to_ids([chr(byte) if byte != 32 else "Ġ" for byte in _PRINTABLE])
        silent = torch.ones(len(tokenizer), dtype=torch.bool)
        silent[printable] = False
        model.lm_head.weight[silent] = 0.0
    return model
