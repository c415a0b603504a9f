"""Int8Weight: eight bits a weight; activations are rounded to eight bits too, each row on its own scale."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

_TINY = 1e-30
# How much of the inputs' spread is moved into the weights; measured on SmolLM2-135M, where it halves the error.
_SMOOTHING = 0.4
_LEVELS = 127
_ZERO = 128  # FBGEMM takes inputs as unsigned bytes


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
        fast: Use FBGEMM's operator; by default where it works.
    """

    dtype = torch.float32

    def __init__(self, weight: Tensor, bias: Tensor | None, input_range: Tensor | None = None, *, fast: bool | None = None) -> None:
        weight = weight.detach().float()
        factors = _smoothing(weight, input_range)
        weight, self._inverse = weight * factors, 1 / factors
        levels = _weight_levels()
        scales = weight.abs().amax(dim=1).clamp_(min=_TINY) / levels
        self._bias = None if bias is None else bias.detach().float()
        self._packed: Any = None
        if fast if fast is not None else has_int8_operator():
            self._packed = _prepack(weight, scales)
        else:
            self._scales = scales
            self._integers = torch.round(weight / scales[:, None]).to(torch.int8)

    def multiply(self, rows: Tensor) -> Tensor:
        """See `Weight.multiply`."""
        product, scale = self._product(rows)
        product *= scale
        return (product if self._bias is None else product.add_(self._bias)).to(rows.dtype)

    def multiply_add(self, rows: Tensor, residual: Tensor) -> Tensor:
        """See `Weight.multiply_add`."""
        if self._bias is not None:
            return self.multiply(rows) + residual
        product, scale = self._product(rows)
        return torch.addcmul(residual, product, scale) if residual.dtype == self.dtype else residual + (product * scale).to(residual.dtype)

    def _product(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The product of the integers, and each row's scale, ``[..., 1]``: together the product."""
        numbers = rows * self._inverse  # float32, whatever the rows are
        if self._packed is None:
            return linear(numbers, self._integers.float()) * self._scales, torch.ones_like(numbers[..., :1])
        # A row with NaN or infinity has a scale of NaN or infinity, which the product gets back.
        largest = numbers.abs().amax(dim=-1, keepdim=True).clamp_(min=_TINY)
        product: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default(
            numbers.div_(largest), 1 / _LEVELS, _ZERO, self._packed
        )
        return product, largest


def _prepack(weight: Tensor, scales: Tensor) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to drop quantized tensors some day; `has_int8_operator` will see it
        zeros = torch.zeros(len(scales), dtype=torch.long)
        return torch.ops.quantized.linear_prepack(torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8), None)


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
def _weight_levels() -> int:
    """Without VNNI the CPU adds pairs of products in 16 bits, which overflow unless the weights keep to seven bits."""
    has_vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
    return _LEVELS if has_vnni else _LEVELS // 2


__all__ = ["Int8Weight", "has_int8_operator"]
