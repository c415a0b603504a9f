"""Where hidden states meet the vocabulary: a few positions at a time, so that no matrix of all positions' logits is ever made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Logits at a time: 32 MB in float32, some hundred positions of a large vocabulary, which is enough for a quick product.
_LOGITS = 1 << 23


def completion_cross_entropy(head: nn.Linear, hidden: Tensor, predicting: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of completion tokens, natural log; its gradient is made on the way and needs no logits kept.

    Args:
        head: The vocabulary matrix, frozen.
        hidden: What it multiplies, ``[places, hidden_size]``.
        predicting: For each token the place that predicts it, ``[tokens]``.
        targets: The tokens.
    """
    if not (torch.is_grad_enabled() and hidden.requires_grad):
        log_probs, _ = completion_log_probs(head, hidden, predicting, targets)
        return -log_probs.mean()
    loss: Tensor = _CrossEntropy.apply(head, hidden, predicting, targets)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def completion_log_probs(head: nn.Module, hidden: Tensor, predicting: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each completion token, float32, and whether it is the likeliest at its place; arguments as above."""
    log_probs = torch.empty(len(targets), dtype=torch.float32, device=targets.device)
    likeliest = torch.empty(len(targets), dtype=torch.bool, device=targets.device)
    for start, end, tokens in _chunks(hidden, head, predicting):
        logits = head(hidden[start:end]).float()
        places, asked = predicting[tokens] - start, targets[tokens]
        log_probs[tokens] = logits[places, asked] - logits.logsumexp(dim=-1)[places]
        likeliest[tokens] = logits.argmax(dim=-1)[places] == asked
    return log_probs, likeliest


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, head: nn.Linear, hidden: Tensor, predicting: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros((), device=hidden.device)
        gradient = torch.empty_like(hidden)
        for start, end, tokens in _chunks(hidden, head, predicting):
            log_probs = head(hidden[start:end]).float().log_softmax(dim=-1)
            places, asked = predicting[tokens] - start, targets[tokens]
            total -= log_probs[places, asked].sum()
            # Each token pulls its place's distribution towards itself.
            pulls = torch.bincount(places, minlength=end - start).to(log_probs.dtype)
            by_logit = log_probs.exp_().mul_(pulls[:, None])
            by_logit.index_put_((places, asked), -torch.ones_like(asked, dtype=by_logit.dtype), accumulate=True)
            gradient[start:end] = by_logit.div_(len(targets)).to(hidden.dtype) @ head.weight
        ctx.save_for_backward(gradient)
        return total.div_(len(targets))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (by_hidden,) = ctx.saved_tensors
        return None, by_hidden * gradient.to(by_hidden.dtype), None, None


def _chunks(hidden: Tensor, head: nn.Module, predicting: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Places from one to another, and which completion tokens are predicted there."""
    size = max(1, _LOGITS // int(head.out_features))  # type: ignore[arg-type]
    for start in range(0, len(hidden), size):
        end = min(start + size, len(hidden))
        yield start, end, ((predicting >= start) & (predicting < end)).nonzero()[:, 0]


__all__ = ["completion_cross_entropy", "completion_log_probs"]
