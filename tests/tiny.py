"""Tiny models of several families and the chat templates of several makers, over the byte tokenizer of `langchain_softprompt.testing`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.testing import tiny_tokenizer

WINDOW = 8
BEGIN = "<|endoftext|>"

# SmolLM2's own: a system message of its own when the chat has none.
WITH_DEFAULT_SYSTEM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Llama 3's: a begin-of-sequence mark before the first turn, no system message of its own.
WITH_BEGIN_MARK = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n\n' + message['content'] | trim + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n\n' }}{% endif %}"
)
# Gemma's: a begin-of-sequence mark, and no system messages at all.
WITHOUT_SYSTEM_ROLE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Qwen 2.5's: tools stand in the system turn, with or without a system message in the chat.
WITH_TOOLS_IN_SYSTEM = (
    "{{ '<|im_start|>system\n' }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% else %}"
    "{{ 'You are Qwen.' }}{% endif %}"
    "{% if tools %}{{ '\n# Tools\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}"
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenizer_with(chat_template: str) -> PreTrainedTokenizerFast:
    """The byte tokenizer with another chat template, and a begin-of-sequence mark for templates that write one."""
    tokenizer = tiny_tokenizer(chat_template=chat_template)
    tokenizer.bos_token = BEGIN
    return tokenizer


def _common() -> dict[str, object]:
    tokenizer = tiny_tokenizer()
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.3,  # wide, so that answers depend on the context
        "tie_word_embeddings": False,
    }


_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
_ATTENTION: dict[str, object] = {**_SIZES, "head_dim": 8}
_MAMBA2 = {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8}
_EXTRA: dict[str, dict[str, object]] = {
    "Llama": _ATTENTION,
    "Mistral": {**_ATTENTION, "sliding_window": WINDOW},
    "Gemma2": {**_ATTENTION, "sliding_window": WINDOW, "attn_implementation": "eager", "final_logit_softcapping": 5.0},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "Jamba": {**_SIZES, "num_experts": 1, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 4},
    "Lfm2": {**_SIZES, "num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"]},
    "Mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "Mamba2": {"hidden_size": 32, "num_hidden_layers": 2, **_MAMBA2},
    "Rwkv": {"hidden_size": 32, "num_hidden_layers": 2},
}
CONTINUING = ("Llama", "Mistral", "Gemma2", "GPT2")
NATIVE = ("Jamba", "Lfm2", "Mamba", "Mamba2")


def random_model(family: str, **changes: object) -> PreTrainedModel:
    """A random model of a family, in float32; the same weights each time."""
    make_config: Callable[..., transformers.PretrainedConfig] = getattr(transformers, f"{family}Config")
    config = make_config(**{**_common(), **_EXTRA[family], **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


def frozen(family: str, tokenizer: PreTrainedTokenizerFast | None = None, **changes: object) -> FrozenModel:
    return FrozenModel.wrap(random_model(family, **changes), tokenizer or tiny_tokenizer(), name=f"tiny-{family}")
