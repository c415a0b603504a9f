"""CompletionScore: log-probabilities of completions, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from langchain_softprompt.data import Example
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.likelihood.forward import completion_scores
from langchain_softprompt.prefix import KVPrefix


@dataclass(frozen=True, slots=True)
class CompletionScore:
    """What a model thinks of one completion.

    Attributes:
        log_probs: Natural logarithm of each completion token's probability, the end-of-turn token included.
        likeliest: Whether each of them is the likeliest token at its place.
    """

    log_probs: tuple[float, ...]
    likeliest: tuple[bool, ...]

    @property
    def total(self) -> float:
        """Log-probability of the whole completion."""
        return math.fsum(self.log_probs)

    @property
    def is_greedy(self) -> bool:
        """Whether greedy decoding writes exactly this completion: each token is the likeliest after those before it."""
        return all(self.likeliest)


@torch.no_grad()
def score_completions(
    model: FrozenModel,
    prefix: KVPrefix | None,
    examples: Sequence[Example],
    *,
    batch_size: int = 16,
    on_rows: Callable[[int], None] | None = None,
) -> list[CompletionScore]:
    """Score given completions; rows of like length are read together.

    Args:
        model: The frozen model.
        prefix: What every row starts from; ``None`` for the bare model.
        examples: Texts and completions.
        batch_size: Rows a pass.
        on_rows: Called with the number of rows done after each pass.

    Returns:
        One score a row, in the given order.
    """
    scores: list[CompletionScore | None] = [None] * len(examples)
    order = sorted(range(len(examples)), key=lambda row: len(examples[row]))
    for at in range(0, len(order), batch_size):
        rows = order[at : at + batch_size]
        batch = [examples[row] for row in rows]
        log_probs, likeliest = completion_scores(model, prefix, batch)
        sizes = [len(example.completion) for example in batch]
        parts = zip(log_probs.cpu().split(sizes), likeliest.cpu().split(sizes), strict=True)
        for row, (probs, right) in zip(rows, parts, strict=True):
            scores[row] = CompletionScore(tuple(probs.tolist()), tuple(right.tolist()))
        if on_rows:
            on_rows(len(rows))
    return [score for score in scores if score is not None]


__all__ = ["CompletionScore", "score_completions"]
