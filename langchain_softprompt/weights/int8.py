"""Int8Weight: eight bits a weight; activations are rounded to eight bits too, each row on its own scale."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

_TINY = 1e-30
# How much of the inputs' spread is moved into the weights; measured on SmolLM2-135M, where it halves the error.
_SMOOTHING = 0.4
# The layout is chosen for this many rows; it serves any number.
_ROWS = 16


class Int8Weight:
    """Multiplies by a weight that is rounded to int8, one scale for each output.

    Inputs that are often large would leave few of the eight bits to the others, so each input is divided, and its column
    of the weight multiplied, by a factor between the two spreads (SmoothQuant, arXiv:2211.10438). Rows are scaled one by one
    and the product of integers is exact, so a row's result does not depend on what it shares a batch with. Where torch has
    no such operator for the platform, the rounded weight multiplies in floating point: smaller all the same, not faster.

    Args:
        weight: ``[out_features, in_features]``.
        bias: ``[out_features]`` or ``None``.
        input_range: The largest size seen of each input, ``[in_features]``; ``None`` takes them to be alike.
        fast: Use oneDNN's operator; by default where it works.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, input_range: Tensor | None = None, *, fast: bool | None = None) -> None:
        weight = weight.detach().float()
        factors = _smoothing(weight, input_range)
        weight, self._inverse = weight * factors, 1 / factors
        self._scales = weight.abs().amax(dim=1).clamp_(min=_TINY) / 127
        self._integers: Tensor | None = torch.round(weight / self._scales[:, None]).to(torch.int8)
        self._bias = None if bias is None else bias.detach().float()
        self._packed: Any = None
        if fast if fast is not None else has_int8_operator():
            self._levels = _levels()
            self._zeros = torch.zeros(len(self._scales), dtype=torch.long)
            self._packed = torch.ops.onednn.qlinear_prepack(self._integers, [_ROWS, weight.shape[1]])
            self._integers = None

    def multiply(self, rows: Tensor) -> Tensor:
        """Rows of any leading shape, ``[..., in_features]``, to ``[..., out_features]``, in the rows' dtype."""
        if self._integers is not None:
            product = linear(rows * self._inverse, self._integers.float()) * self._scales
            return (product if self._bias is None else product + self._bias).to(rows.dtype)
        numbers = rows * self._inverse  # float32, whatever the rows are
        largest = numbers.abs().amax(dim=-1, keepdim=True).clamp_(min=_TINY)
        rounded = (numbers * (self._levels / largest)).round_().to(torch.int8)
        product = self._multiply_integers(rounded)
        # A row with NaN or infinity has a scale of NaN or infinity, which the product gets back here.
        product *= largest
        return (product if self._bias is None else product.add_(self._bias)).to(rows.dtype)

    def _multiply_integers(self, rounded: Tensor) -> Tensor:
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, 1 / self._levels, 0, self._packed, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product


def _smoothing(weight: Tensor, input_range: Tensor | None) -> Tensor:
    if input_range is None:
        return torch.ones(weight.shape[1])
    spread, own = input_range.float().clamp(min=1e-5), weight.abs().amax(dim=0).clamp(min=1e-5)
    factors = spread**_SMOOTHING / own ** (1 - _SMOOTHING)
    return factors / factors.mean()


@lru_cache(maxsize=1)
def has_int8_operator() -> bool:
    """Whether this torch on this machine multiplies int8 by an operator of its own, rightly."""
    numbers = torch.Generator().manual_seed(0)
    weight, rows = (torch.randn(shape, generator=numbers) for shape in ((48, 64), (3, 64)))
    rows[0] = weight[0].sign()  # the largest sum there can be: sums that overflow show here
    try:
        found = Int8Weight(weight, None, fast=True).multiply(rows)
    except (RuntimeError, AttributeError, NotImplementedError, TypeError):
        return False
    expected = Int8Weight(weight, None, fast=False).multiply(rows)
    return bool((found - expected).norm() < 0.05 * expected.norm())


@lru_cache(maxsize=1)
def _levels() -> int:
    """Without VNNI the CPU adds pairs of products in 16 bits, which overflow unless the input keeps to seven."""
    has_vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
    return 127 if has_vnni else 63


__all__ = ["Int8Weight", "has_int8_operator"]
