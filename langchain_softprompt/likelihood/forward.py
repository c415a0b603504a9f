"""Completions after a prefix: their logits, their loss, and the log-probability of each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from langchain_softprompt.data import Example
from langchain_softprompt.errors import TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.likelihood.llama import LlamaReader, find_reader
from langchain_softprompt.likelihood.padded import padded_logits
from langchain_softprompt.likelihood.vocabulary import completion_cross_entropy, completion_log_probs
from langchain_softprompt.prefix import KVPrefix

_SOURCE = "batch"


def completion_logits(model: FrozenModel, prefix: KVPrefix | None, batch: Sequence[Example]) -> Tensor:
    """Read texts and completions after a prefix, all rows in one pass.

    Gradients flow to the prefix where its tensors ask for them. Llama-shaped models are read by a forward written out for
    this (`llama.LlamaReader`), others by transformers' own over a padded batch.

    Args:
        model: The frozen model.
        prefix: What every row starts from; ``None`` for the bare model.
        batch: The rows.

    Returns:
        Logits for every completion token, row after row, ``[completion tokens of the batch, vocab_size]``.

    Raises:
        TrainingDataError: A row has no text, so nothing predicts its first completion token.
    """
    _check(batch)
    reader = _reader(model, prefix)
    if reader is None:
        return padded_logits(model, prefix, batch)
    reading = reader.read(prefix, batch)
    logits: Tensor = _head(model)(reading.hidden[reading.predicting])
    return logits


def completion_loss(model: FrozenModel, prefix: KVPrefix | None, batch: Sequence[Example]) -> Tensor:
    """Mean cross-entropy of the completion tokens of a batch, natural log, a float32 scalar.

    The same number and the same gradient as of ``cross_entropy`` over `completion_logits`, but for Llama-shaped models the
    logits of only a few positions are ever held, and the gradient is made along with them.

    Raises:
        TrainingDataError: As `completion_logits`.
    """
    _check(batch)
    targets, reader = completion_targets(model, batch), _reader(model, prefix)
    if reader is None:
        return cross_entropy(padded_logits(model, prefix, batch).float(), targets)
    reading = reader.read(prefix, batch)
    return completion_cross_entropy(_head(model), reading.hidden, reading.predicting, targets)


@torch.no_grad()
def completion_scores(model: FrozenModel, prefix: KVPrefix | None, batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Without gradients, of each completion token of a batch the log-probability, and whether it is the likeliest at its place.

    Raises:
        TrainingDataError: As `completion_logits`.
    """
    _check(batch)
    targets, reader = completion_targets(model, batch), _reader(model, prefix)
    if reader is not None:
        reading = reader.read(prefix, batch)
        return completion_log_probs(_head(model), reading.hidden, reading.predicting, targets)
    logits = padded_logits(model, prefix, batch)
    return logits.float().log_softmax(dim=-1).gather(1, targets[:, None])[:, 0], logits.argmax(dim=-1) == targets


def completion_targets(model: FrozenModel, batch: Sequence[Example]) -> Tensor:
    """The tokens that the rows of `completion_logits` predict."""
    return torch.tensor([token for example in batch for token in example.completion], device=model.device)


def _reader(model: FrozenModel, prefix: KVPrefix | None) -> LlamaReader | None:
    """The written-out forward, where it fits model and prefix."""
    if prefix is not None and not prefix.layers:
        return None
    tensors = [] if prefix is None else [tensor for layer in prefix.layers for tensor in layer]
    return find_reader(model, learning=torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))


def _head(model: FrozenModel) -> Any:
    return model.model.get_output_embeddings()


def _check(batch: Sequence[Example]) -> None:
    for number, example in enumerate(batch, start=1):
        if not example.text or not example.completion:
            missing = "text" if not example.text else "completion"
            problem = f"row {number} has an empty {missing}. A completion is predicted by the text before it."
            raise TrainingDataError(_SOURCE, None, problem)


__all__ = ["completion_logits", "completion_loss", "completion_scores", "completion_targets"]
