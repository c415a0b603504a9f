"""Transformers' own forward over a padded batch: for any model, with gradients where its layers have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from langchain_softprompt.data import Example
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KVPrefix


def padded_logits(model: FrozenModel, prefix: KVPrefix | None, batch: Sequence[Example]) -> Tensor:
    """As `forward.completion_logits`, all rows in one pass."""
    if prefix is not None and prefix.snapshot is not None:
        # A native cache can't be repeated for several rows, so they are read one by one.
        return torch.cat([_read(model, [example], cache=prefix.to_cache(model), past=prefix.length) for example in batch])
    if prefix is not None and prefix.embeddings is not None:
        return _read(model, batch, head=prefix.embeddings)
    if prefix is None:
        return _read(model, batch)
    rows = len(batch)
    layers = [(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)) for keys, values in prefix.layers]
    return _read(model, batch, cache=DynamicCache(layers), past=prefix.length)


def _read(model: FrozenModel, batch: Sequence[Example], *, cache: Cache | None = None, past: int = 0, head: Tensor | None = None) -> Tensor:
    lead = 0 if head is None else head.shape[0]
    longest = max(len(example) for example in batch) - 1
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros(len(batch), past + lead + longest, dtype=torch.long)
    wanted = torch.zeros(len(batch), lead + longest, dtype=torch.bool)
    for row, example in enumerate(batch):
        tokens = (example.text + example.completion)[:-1]
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : past + lead + len(tokens)] = 1
        wanted[row, lead + len(example.text) - 1 : lead + len(tokens)] = True
    device = model.device
    given: dict[str, Any] = {"input_ids": ids.to(device)}
    if head is not None:
        given = {"inputs_embeds": torch.cat([head.expand(len(batch), -1, -1), model.embed(ids.to(device))], dim=1)}
    if cache is not None:
        given["past_key_values"] = cache
    with _only(model, wanted.to(device)):
        output = model.model(
            **given,
            attention_mask=mask.to(device),
            position_ids=torch.arange(past, past + lead + longest, device=device).expand(len(batch), -1),
            use_cache=cache is not None,
        )
    logits: Tensor = output.logits[0]
    return logits


@contextmanager
def _only(model: FrozenModel, wanted: Tensor) -> Iterator[None]:
    """Let only some positions meet the vocabulary, as one contiguous matrix.

    A strided slice would make the product copy the whole vocabulary matrix once a row on a CPU.
    """

    def keep_wanted(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][wanted][None].contiguous(), *inputs[1:])

    handle = model.model.get_output_embeddings().register_forward_pre_hook(keep_wanted)
    try:
        yield
    finally:
        handle.remove()


__all__ = ["padded_logits"]
