"""find_reader: which models are read by `LlamaReader`, found out by trying."""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from langchain_softprompt.data import Example
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.llama.layers import is_llama_shaped
from langchain_softprompt.likelihood.llama.reader import LlamaReader
from langchain_softprompt.likelihood.padded import padded_logits
from langchain_softprompt.prefix import KVPrefix

logger = logging.getLogger(__name__)

# Allowed difference as a share of the spread of transformers' own logits, and of its gradients. Sixteen bits round a good
# deal, and quantized layers see inputs that are rounded differently.
_SHARE, _HALF_PRECISION_SHARE, _QUANTIZED_SHARE = 1e-3, 0.3, 0.5
_PREFIX, _TEXTS, _COMPLETIONS = 3, (6, 9), (2, 3)

_readers: WeakKeyDictionary[FrozenModel, LlamaReader | None] = WeakKeyDictionary()


def find_reader(model: FrozenModel, *, learning: bool = False) -> LlamaReader | None:
    """The written-out reader of a model, if it has one that says what transformers says; tried once for each model.

    Args:
        model: The frozen model.
        learning: Whether gradients are needed.
    """
    if model not in _readers:
        _readers[model] = _tried(model)
    reader = _readers[model]
    return None if reader is None or (learning and not reader.learns) else reader


def _tried(model: FrozenModel) -> LlamaReader | None:
    if not model.reuses_prefix or not is_llama_shaped(model.model):
        return None
    try:
        with torch.inference_mode(mode=False), torch.enable_grad():
            reader = LlamaReader(model.model)
            differences = _differences(model, reader)
    except Exception as error:  # noqa: BLE001 - a model that only looks the part raises almost anything here.
        logger.warning("%s is trained through transformers' own forward: its shape was not the one expected (%s).", model.name, error)
        return None
    share = _SHARE if model.dtype == torch.float32 else _HALF_PRECISION_SHARE
    allowed = share if model.quantization is None else _QUANTIZED_SHARE
    told = ", ".join(f"{what} {difference:.2e}" for what, difference in differences.items())
    if not all(difference <= allowed for difference in differences.values()):
        logger.warning("%s is trained through transformers' own forward: ours differs (%s; allowed %.2e).", model.name, told, allowed)
        return None
    logger.info("%s is trained through our own forward: difference of %s, allowed %.2e.", model.name, told, allowed)
    return reader


def _differences(model: FrozenModel, reader: LlamaReader) -> dict[str, float]:
    """How far the reader is from transformers' own forward on two random rows that begin alike, as shares."""
    numbers = torch.Generator().manual_seed(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, model.vocab_size, (count,), generator=numbers).tolist())

    head = tokens(3)
    batch = [Example(head + tokens(text), tokens(completion)) for text, completion in zip(_TEXTS, _COMPLETIONS, strict=True)]
    cache = DynamicCache()
    model.forward(input_ids=torch.tensor([tokens(_PREFIX)], device=model.device), cache=cache, past_length=0)
    grown: list[Any] = cache.layers
    past = [(layer.keys[0].clone(), layer.values[0].clone()) for layer in grown]
    targets = torch.tensor([token for example in batch for token in example.completion], device=model.device)
    seen: list[tuple[Tensor, Tensor | None]] = []
    for own in (False, True):
        leaves = [tensor.detach().clone().requires_grad_(reader.learns) for layer in past for tensor in layer]
        prefix = KVPrefix(_PREFIX, tuple(zip(leaves[::2], leaves[1::2], strict=True)))
        with torch.set_grad_enabled(reader.learns):
            if own:
                reading = reader.read(prefix, batch)
                logits = model.model.get_output_embeddings()(reading.hidden[reading.predicting])
            else:
                logits = padded_logits(model, prefix, batch)
        gradient = None
        if reader.learns:
            gradient = torch.cat([one.flatten() for one in torch.autograd.grad(cross_entropy(logits.float(), targets), leaves)]).float()
        seen.append((logits.detach().float(), gradient))
    (expected, expected_gradient), (found, gradient) = seen
    differences = {"logits": _share(found - expected, expected - expected.mean())}
    if gradient is not None and expected_gradient is not None:
        differences["gradients"] = _share(gradient - expected_gradient, expected_gradient)
    return differences


def _share(difference: Tensor, whole: Tensor) -> float:
    return float(difference.norm()) / float(whole.norm())


__all__ = ["find_reader"]
