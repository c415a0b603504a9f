"""PrepackedWeight: a weight in oneDNN's own layout, so that no multiplication has to rearrange it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

# The layout is chosen for this many rows; it serves any number.
_ROWS = 16


class PrepackedWeight:
    """Multiplies as `torch.nn.functional.linear` does, up to rounding.

    Args:
        weight: ``[out_features, in_features]``, float32 or bfloat16, on the CPU.
        bias: ``[out_features]`` or ``None``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._packed: Any = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS)  # noqa: SLF001 - torch's own name
        self._bias = bias
        self.dtype = weight.dtype

    def multiply(self, rows: Tensor) -> Tensor:
        """See `Weight.multiply`."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise.default(rows, self._packed, self._bias, "none", [], "")  # noqa: SLF001
        return product

    def multiply_add(self, rows: Tensor, residual: Tensor) -> Tensor:
        """See `Weight.multiply_add`."""
        total: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows, residual, self._packed, self._bias, "add")  # noqa: SLF001
        return total


@lru_cache(maxsize=4)
def can_prepack(dtype: torch.dtype) -> bool:
    """Whether this torch on this machine has the operators, and they give the right answer: they are not public."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    numbers = torch.Generator().manual_seed(0)
    weight, rows, residual = (torch.randn(shape, generator=numbers).to(dtype) for shape in ((48, 32), (3, 32), (3, 48)))
    try:
        packed = PrepackedWeight(weight, None)
        found = torch.stack([packed.multiply(rows), packed.multiply_add(rows, residual)]).float()
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    product = linear(rows, weight)
    expected = torch.stack([product, product + residual]).float()
    return torch.allclose(found, expected, atol=1e-4 if dtype == torch.float32 else 0.1)


__all__ = ["PrepackedWeight", "can_prepack"]
