"""Rotation: positions turned into queries and keys (RoFormer, arXiv:2104.09864), and back out of their gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Rotation:
    """Cosines and sines of the angles, which the two halves of a head share.

    Attributes:
        cosines: ``[..., head_dim]``, to be multiplied with heads of that shape.
        sines: ``[..., head_dim // 2]``.
    """

    cosines: Tensor
    sines: Tensor

    def turn(self, heads: Tensor, out: Tensor) -> Tensor:
        """Turn ``[..., head_dim]`` and write it to `out`."""
        return self._turn(heads, out, 1)

    def turn_back(self, gradient: Tensor, out: Tensor) -> Tensor:
        """From the gradient of what was turned to that of what was given: the same angles the other way."""
        return self._turn(gradient, out, -1)

    def _turn(self, heads: Tensor, out: Tensor, sign: int) -> Tensor:
        half = self.sines.shape[-1]
        torch.mul(heads, self.cosines, out=out)
        out[..., :half].addcmul_(heads[..., half:], self.sines, value=-sign)
        out[..., half:].addcmul_(heads[..., :half], self.sines, value=sign)
        return out


__all__ = ["Rotation"]
