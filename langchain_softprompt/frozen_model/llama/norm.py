"""RmsNorm: root-mean-square normalisation (arXiv:1910.07467), quick for a few positions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, rms_norm

_FEW = 32


class RmsNorm:
    """Divides each position by its root mean square and multiplies by a weight.

    On a CPU torch has one operator for layer norm, but puts RMS norm together from eight. Numbers next to their own negatives
    have mean zero, and then layer norm is RMS norm: for a few positions, half the time.

    Args:
        weight: ``[hidden_size]``.
        epsilon: Added to the mean square.
        dtype: Of the positions.
    """

    def __init__(self, weight: Tensor, epsilon: float, dtype: torch.dtype) -> None:
        self._weight = weight.detach().to(dtype)
        self._epsilon = epsilon
        self._size = weight.shape[0]
        self._doubled = torch.cat([self._weight, self._weight]) if weight.device.type == "cpu" else None

    def __call__(self, hidden: Tensor) -> Tensor:
        """Normalise ``[positions, hidden_size]``."""
        if self._doubled is None or hidden.shape[0] > _FEW:
            return rms_norm(hidden, (self._size,), self._weight, self._epsilon)
        doubled = torch.cat([hidden, -hidden], dim=-1)
        return layer_norm(doubled, (2 * self._size,), self._doubled, None, self._epsilon)[:, : self._size]


__all__ = ["RmsNorm"]
