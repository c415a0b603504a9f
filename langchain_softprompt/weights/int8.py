"""Int8Weight: eight bits a weight; activations are rounded to eight bits too, each row on its own scale."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

_TINY = 1e-30


class Int8Weight:
    """Multiplies by a weight that is rounded to int8, one scale for each output.

    Rows are scaled one by one and the product of integers is exact, so a row's result does not depend on what it
    shares a batch with. Where torch has no such operator for the platform, the rounded weight multiplies in floating point:
    smaller all the same, not faster.

    Args:
        weight: ``[out_features, in_features]``.
        bias: ``[out_features]`` or ``None``.
        fast: Use the operator; by default where it works.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, fast: bool | None = None) -> None:
        weight = weight.detach().float()
        self._scales = weight.abs().amax(dim=1).clamp_(min=_TINY) / 127
        self._integers: Tensor | None = torch.round(weight / self._scales[:, None]).to(torch.int8)
        self._bias = None if bias is None else bias.detach().float()
        self._packed: Any = None
        if fast if fast is not None else has_int8_operator():
            self._packed = _prepack(self._integers, self._scales)
            self._integers = None

    def multiply(self, rows: Tensor) -> Tensor:
        """Rows of any leading shape, ``[..., in_features]``, to ``[..., out_features]``, in the rows' dtype."""
        largest = rows.abs().amax(dim=-1, keepdim=True).float().clamp_(min=_TINY)
        if self._integers is None:
            levels = _levels()
            scaled = (rows.float() / largest).contiguous()
            product: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(scaled, 1 / levels, 128, self._packed)
            # A row with NaN or infinity has a scale of NaN or infinity, which the product gets back here.
            product = product * largest
        else:
            product = linear(rows.float(), self._integers.float()) * self._scales
        if self._bias is not None:
            product += self._bias
        return product.to(rows.dtype)


@lru_cache(maxsize=1)
def has_int8_operator() -> bool:
    """Whether this torch on this machine multiplies int8 by an operator of its own, rightly."""
    numbers = torch.Generator().manual_seed(0)
    weight, rows = (torch.randn(shape, generator=numbers) for shape in ((48, 64), (3, 64)))
    try:
        found = Int8Weight(weight, None, fast=True).multiply(rows)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    expected = Int8Weight(weight, None, fast=False).multiply(rows)
    return bool((found - expected).norm() < 0.05 * expected.norm())


def _prepack(integers: Tensor, scales: Tensor) -> Any:
    engine = torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Torch's quantized tensors are on their way out; the try-out above notices when.
        try:
            torch.backends.quantized.engine = "fbgemm"
            zeros = torch.zeros(len(scales), dtype=torch.long)
            quantized = torch._make_per_channel_quantized_tensor(integers, scales.double(), zeros, 0)  # noqa: SLF001
            return torch.ops.quantized.linear_prepack(quantized, None)
        finally:
            torch.backends.quantized.engine = engine


@lru_cache(maxsize=1)
def _levels() -> int:
    """Without VNNI the CPU adds pairs of products in 16 bits, which overflow unless the input keeps to seven."""
    has_vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
    return 127 if has_vnni else 63


__all__ = ["Int8Weight", "has_int8_operator"]
