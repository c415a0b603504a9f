"""Completions by transformers' own forward with its own gradients: one row, no padding, nothing shared."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from langchain_softprompt.data import Example
from langchain_softprompt.prefix import KVPrefix


def random_prefix(model: PreTrainedModel, length: int, *, seed: int = 0, learned: bool = True) -> KVPrefix | None:
    """Keys and values as the model itself makes them of random text; ``None`` for no length."""
    if not length:
        return None
    numbers = torch.Generator().manual_seed(seed)
    cache = DynamicCache()
    with torch.no_grad():
        model(input_ids=torch.randint(0, model.config.vocab_size, (1, length), generator=numbers), past_key_values=cache)
    layers = [(layer.keys[0].clone().requires_grad_(learned), layer.values[0].clone().requires_grad_(learned)) for layer in cache.layers]
    return KVPrefix(length, tuple(layers))


def leaves(prefix: KVPrefix) -> list[Tensor]:
    return [tensor for layer in prefix.layers for tensor in layer]


def true_logits(model: PreTrainedModel, prefix: KVPrefix | None, batch: Sequence[Example]) -> Tensor:
    logits = []
    for example in batch:
        ids = torch.tensor([(example.text + example.completion)[:-1]])
        past = 0 if prefix is None else prefix.length
        output = model(
            input_ids=ids,
            attention_mask=torch.ones(1, past + ids.shape[1], dtype=torch.long),
            position_ids=torch.arange(past, past + ids.shape[1])[None],
            past_key_values=None if prefix is None else DynamicCache([(keys[None], values[None]) for keys, values in prefix.layers]),
        )
        logits.append(output.logits[0, len(example.text) - 1 :])
    return torch.cat(logits)


def targets(batch: Sequence[Example]) -> Tensor:
    return torch.tensor([token for example in batch for token in example.completion])


def share(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """How far tensors are from others, taken as one vector, relative to its length."""
    one, other = (torch.cat([tensor.detach().float().flatten() for tensor in tensors]) for tensors in (found, expected))
    difference = float((one - other).norm())
    return difference and difference / float(other.norm())
