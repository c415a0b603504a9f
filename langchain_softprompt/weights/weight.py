"""Weight: what multiplies rows; PlainWeight does it as the layers of the model do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear


class Weight(Protocol):
    """What multiplies."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of rows that need no conversion."""
        ...

    def multiply(self, rows: Tensor) -> Tensor:
        """Rows ``[..., in_features]`` to ``[..., out_features]``, in the rows' dtype."""
        ...

    def multiply_add(self, rows: Tensor, residual: Tensor) -> Tensor:
        """The product plus ``[..., out_features]``, which stays as it is."""
        ...


class PlainWeight:
    """The products of linear layers with the same input, one after another along the last dimension.

    Args:
        layers: The layers; their weights are shared, not copied.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        self._pairs: list[tuple[Tensor, Tensor | None]] = [(layer.weight, layer.bias) for layer in layers]
        self.dtype = self._pairs[0][0].dtype

    def multiply(self, rows: Tensor) -> Tensor:
        """See `Weight.multiply`."""
        if len(self._pairs) == 1:
            return linear(rows, *self._pairs[0])
        return torch.cat([linear(rows, weight, bias) for weight, bias in self._pairs], dim=-1)

    def multiply_add(self, rows: Tensor, residual: Tensor) -> Tensor:
        """See `Weight.multiply_add`."""
        return residual + self.multiply(rows)


__all__ = ["PlainWeight", "Weight"]
