"""SharedLinear: a linear layer whose product is computed together with its siblings'."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from torch import Tensor, nn

from langchain_softprompt.weights.weight import PlainWeight, Weight


class PackedLinear(nn.Module):
    """A linear layer with a packed weight. It has no gradient."""

    def __init__(self, weight: Weight, in_features: int, out_features: int) -> None:
        super().__init__()
        self.packed = weight
        self.in_features = in_features
        self.out_features = out_features

    def forward(self, rows: Tensor) -> Tensor:
        """Multiply."""
        return self.packed.multiply(rows)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"{type(self.packed).__name__}, in_features={self.in_features}, out_features={self.out_features}"


class SharedProduct:
    """The last product of siblings that read the same input, handed out piece by piece.

    One large multiplication is quicker than several small ones. A sibling called with the very tensor that the one before
    it got takes its piece of the product at hand; with any other tensor, everything is computed anew. The product is let go
    once every sibling has had its piece. Threads don't see each other's.
    """

    def __init__(self, weight: Weight, sizes: list[int]) -> None:
        self.weight = weight
        self._sizes = sizes
        self._at_hand = threading.local()

    def piece(self, index: int, rows: Tensor) -> Tensor:
        """One sibling's part of the product."""
        mine = self._at_hand
        if getattr(mine, "rows", None) is not rows or index not in mine.pieces:
            pieces = self.weight.multiply(rows).split(self._sizes, dim=-1)
            mine.rows, mine.pieces = rows, dict(enumerate(pieces))
        piece: Tensor = mine.pieces.pop(index)
        if not mine.pieces:
            mine.rows = None
        return piece


class SharedLinear(nn.Module):
    """One sibling."""

    def __init__(self, product: SharedProduct, index: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.product = product
        self._index = index
        self.in_features = in_features
        self.out_features = out_features

    def forward(self, rows: Tensor) -> Tensor:
        """Multiply, or take what was multiplied already."""
        return self.product.piece(self._index, rows)


def joint_weight(layers: Sequence[nn.Module]) -> Weight:
    """What multiplies for all these linear layers, their products one after another in this order."""
    first = layers[0]
    if len(layers) == 1 and isinstance(first, PackedLinear):
        return first.packed
    if isinstance(first, SharedLinear) and all(isinstance(layer, SharedLinear) and layer.product is first.product for layer in layers):
        return first.product.weight
    return PlainWeight(layers)


__all__ = ["PackedLinear", "SharedLinear", "SharedProduct", "joint_weight"]
