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

    def multiply(self, rows: Tensor) -> Tensor:
        """Rows of any leading shape, ``[..., in_features]``, to ``[..., out_features]``."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self._bias, "none", [], "")  # noqa: SLF001
        return product


@lru_cache(maxsize=4)
def can_prepack(dtype: torch.dtype) -> bool:
    """Whether this torch on this machine has the operators, and they give the right answer: they are not public."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    numbers = torch.Generator().manual_seed(0)
    weight, rows = (torch.randn(shape, generator=numbers).to(dtype) for shape in ((48, 32), (3, 32)))
    try:
        found, expected = PrepackedWeight(weight, None).multiply(rows), linear(rows, weight)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.allclose(found.float(), expected.float(), atol=1e-4 if dtype == torch.float32 else 0.1)


__all__ = ["PrepackedWeight", "can_prepack"]
