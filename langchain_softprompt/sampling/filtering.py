"""Logits become the scores to draw from: repetition penalty, constraint, temperature, top-k, top-p, min-p."""

from __future__ import annotations

import torch
from torch import Tensor

from langchain_softprompt.settings import GenerationSettings


def filter_logits(logits: Tensor, settings: GenerationSettings, seen: Tensor | None = None, allowed: Tensor | None = None) -> Tensor:
    """Apply repetition penalty, constraint, temperature, top-k, top-p and min-p, in transformers' order and arithmetic.

    Args:
        logits: Float32, shape ``[vocab_size]``.
        settings: With a temperature above 0.
        seen: Which tokens the penalty applies to, booleans of the same shape.
        allowed: Which tokens may come, booleans of the same shape; ``None`` for all.

    Returns:
        Scores whose softmax is the distribution to draw from; what was filtered out is minus infinity.
    """
    scores = keep_allowed(penalise(logits, seen, settings.repetition_penalty), allowed)
    if settings.temperature != 1:
        scores = scores / settings.temperature
    if settings.top_k:
        scores = keep_top_k(scores, settings.top_k)
    if settings.top_p < 1:
        scores = keep_top_p(scores, settings.top_p)
    if settings.min_p > 0:
        scores = keep_min_p(scores, settings.min_p)
    return scores


def penalise(logits: Tensor, seen: Tensor | None, penalty: float) -> Tensor:
    """Make the tokens in `seen` less likely (penalty above 1) or likelier (below 1)."""
    if seen is None or penalty == 1:
        return logits
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def keep_allowed(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Keep the tokens in `allowed`; all of them where it is ``None``."""
    return scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)


def keep_top_k(scores: Tensor, k: int) -> Tensor:
    """Keep the `k` best scores and what ties with the last of them."""
    least = scores.topk(min(k, scores.shape[-1])).values[-1]
    return scores.masked_fill(scores < least, -torch.inf)


def keep_top_p(scores: Tensor, share: float) -> Tensor:
    """Keep the smallest set of tokens whose probability reaches `share`, at least the best one."""
    ascending, order = scores.sort(descending=False)
    removed = ascending.softmax(dim=-1).cumsum(dim=-1) <= (1 - share)
    removed[-1] = False
    return scores.masked_fill(removed.scatter(0, order, removed), -torch.inf)


def keep_min_p(scores: Tensor, share: float) -> Tensor:
    """Keep the tokens whose probability is at least `share` of the best one's; the best one always stays."""
    likely = scores.softmax(dim=-1)
    return scores.masked_fill(likely < share * likely.max(), -torch.inf)


__all__ = ["filter_logits", "keep_allowed", "keep_min_p", "keep_top_k", "keep_top_p", "penalise"]
