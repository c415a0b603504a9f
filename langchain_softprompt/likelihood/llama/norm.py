"""FrozenNorm: RMS norm (arXiv:1910.07467) and its gradient."""

from __future__ import annotations

import torch
from torch import Tensor


class FrozenNorm:
    """Divides by the root mean square along the last dimension and multiplies by a weight that never changes.

    Args:
        weight: ``[size]``.
        epsilon: Added to the mean square.
    """

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        self._weight = weight.detach()
        self._epsilon = epsilon

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise ``[..., size]``.

        Returns:
            The result, and what `back` needs beside the input: ``[..., 1]``, in float32 at least.
        """
        wide = _wide(hidden)
        scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(hidden.shape[-1]).add_(self._epsilon).rsqrt_()
        return (wide * scale).to(hidden.dtype).mul_(self._weight), scale

    def back(self, gradient: Tensor, hidden: Tensor, scale: Tensor) -> Tensor:
        """From the gradient of the result to that of the input."""
        wide, weighted = _wide(hidden), _wide(gradient * self._weight)
        along = (weighted * wide).mean(dim=-1, keepdim=True).mul_(scale).mul_(scale)
        return weighted.addcmul_(wide, along, value=-1).mul_(scale).to(hidden.dtype)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


__all__ = ["FrozenNorm"]
