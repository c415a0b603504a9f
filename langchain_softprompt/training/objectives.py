"""Objective: what a step makes smaller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from langchain_softprompt.data import Example
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.likelihood import completion_logits, completion_loss
from langchain_softprompt.prefix import KVPrefix


class Objective(Protocol):
    """A loss over a batch of examples, named by their numbers."""

    @property
    def examples(self) -> Sequence[Example]:
        """What is learned from."""
        ...

    def loss(self, prefix: KVPrefix, rows: Sequence[int]) -> Tensor:
        """Mean loss per completion token, natural log, with gradients to the prefix."""
        ...


class Completions:
    """Write the given completions: cross-entropy on their tokens, the end-of-turn token included.

    Args:
        model: The frozen model.
        examples: Texts and completions.
    """

    def __init__(self, model: FrozenModel, examples: Sequence[Example]) -> None:
        self._model = model
        self.examples = examples

    def loss(self, prefix: KVPrefix, rows: Sequence[int]) -> Tensor:
        """As `Objective.loss`."""
        return completion_loss(self._model, prefix, [self.examples[row] for row in rows])


class Imitation:
    """Say what a teacher says: KL divergence from its next-token distributions (Hinton et al. 2015, arXiv:1503.02531).

    A teacher's distribution is kept as its likeliest tokens and the rest as one outcome, which is a lower bound of the
    whole divergence, close where the rest is small.

    Args:
        model: The frozen model.
        examples: Texts and the completions along which the distributions were taken.
        teacher: For each example the likeliest tokens, ``[completion tokens, k]``, and the natural logarithm of their
            probabilities, of the same shape.
    """

    def __init__(self, model: FrozenModel, examples: Sequence[Example], teacher: Sequence[tuple[Tensor, Tensor]]) -> None:
        self._model = model
        self.examples = examples
        self._teacher = teacher

    def loss(self, prefix: KVPrefix, rows: Sequence[int]) -> Tensor:
        """As `Objective.loss`."""
        return self.divergences(prefix, rows).mean()

    def divergences(self, prefix: KVPrefix, rows: Sequence[int]) -> Tensor:
        """KL(teacher || student) at each completion token of the rows, in nats."""
        batch = [self.examples[row] for row in rows]
        log_probs = completion_logits(self._model, prefix, batch).float().log_softmax(dim=-1)
        tokens = torch.cat([self._teacher[row][0] for row in rows]).to(log_probs.device, torch.long)
        taught = torch.cat([self._teacher[row][1] for row in rows]).to(log_probs.device).float()
        said = log_probs.gather(1, tokens)
        likeliest = (taught.exp() * (taught - said)).sum(dim=-1)
        rest_taught, rest_said = _rest(taught), _rest(said)
        return likeliest + rest_taught * (rest_taught.log() - rest_said.log())


def _rest(log_probs: Tensor) -> Tensor:
    """The probability of everything else; a little above nothing, for its logarithm."""
    return (1 - log_probs.exp().sum(dim=-1)).clamp(min=1e-6)


__all__ = ["Completions", "Imitation", "Objective"]
