"""TokenLogprob: how likely the model found a token that was picked, and which it found likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural-log probabilities at one place of an answer.

    They are the model's own: before penalty, constraint, temperature and filters, so what was drawn may be unlikely here.

    Attributes:
        logprob: Of the token that was picked.
        top: The likeliest tokens with theirs, likeliest first.
    """

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def token_logprobs(logits: Tensor, picked: Sequence[int], counts: Sequence[int]) -> list[TokenLogprob]:
    """Look up the tokens that several rows have picked.

    Args:
        logits: Shape ``[rows, vocab_size]``.
        picked: The token of each row.
        counts: How many of the likeliest tokens each row wants.
    """
    logits = logits.float()
    totals = logits.logsumexp(dim=-1)
    own = logits[torch.arange(len(picked), device=logits.device), torch.tensor(picked, device=logits.device)] - totals
    best = logits.topk(min(max(counts), logits.shape[-1]), dim=-1)
    values, tokens = (best.values - totals[:, None]).tolist(), best.indices.tolist()
    return [
        TokenLogprob(logprob, tuple(zip(tokens[row][:count], values[row][:count], strict=True)))
        for row, (logprob, count) in enumerate(zip(own.tolist(), counts, strict=True))
    ]


__all__ = ["TokenLogprob", "token_logprobs"]
