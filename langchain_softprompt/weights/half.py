"""HalfWeight: sixteen bits a weight, multiplied in float32, for CPUs that have no arithmetic in sixteen bits."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from langchain_softprompt.errors import FrozenModelError

_LARGEST = torch.finfo(torch.float16).max


class HalfWeight:
    """Multiplies by a weight kept as float16, which FBGEMM widens on the way.

    A bfloat16 weight has fewer digits than float16 and keeps them all, unless it is smaller than 6e-5 (then to within
    6e-8) or larger than 65504, which no layer of a language model is. Rows and products are float32, so the result is nearer
    to the exact one than a product in bfloat16.

    Args:
        weight: ``[out_features, in_features]``, on the CPU.
        bias: ``[out_features]`` or ``None``.
    """

    dtype = torch.float32

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        wide = weight.detach().float()
        if not wide.abs().max() <= _LARGEST:
            msg = f"A weight of {wide.abs().max():.3g} does not fit float16."
            raise FrozenModelError(msg)
        self._packed: Any = torch.ops.quantized.linear_prepack_fp16(wide, None if bias is None else bias.detach().float())

    def multiply(self, rows: Tensor) -> Tensor:
        """See `Weight.multiply`."""
        product: Tensor = torch.ops.quantized.linear_dynamic_fp16.default(rows.float(), self._packed)
        return product.to(rows.dtype)

    def multiply_add(self, rows: Tensor, residual: Tensor) -> Tensor:
        """See `Weight.multiply_add`."""
        return self.multiply(rows).add_(residual)


@lru_cache(maxsize=1)
def has_half_operator() -> bool:
    """Whether this torch on this machine has the operator, and it gives the right answer."""
    numbers = torch.Generator().manual_seed(0)
    weight, rows = (torch.randn(shape, generator=numbers) for shape in ((48, 64), (3, 64)))
    weight = weight.bfloat16().float()
    try:
        found = HalfWeight(weight, None).multiply(rows)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.allclose(found, linear(rows, weight), atol=1e-3)


__all__ = ["HalfWeight", "has_half_operator"]
