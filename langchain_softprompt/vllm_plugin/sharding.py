"""Which heads and layers of a soft prompt one worker holds."""

from __future__ import annotations

import torch
from torch import Tensor


class ShapeMismatchError(ValueError):
    """The soft prompt does not fit the layers of this model."""


def heads_of_rank(total: int, rank: int, ranks: int) -> slice:
    """The key-value heads that one tensor-parallel rank holds, as vLLM's attention layers are cut.

    Args:
        total: Key-value heads of the whole model.
        rank: Which worker.
        ranks: How many there are.

    Raises:
        ShapeMismatchError: The heads can't be shared out evenly.
    """
    if total >= ranks:
        if total % ranks:
            msg = f"{total} key-value heads can't be shared out among {ranks} workers."
            raise ShapeMismatchError(msg)
        share = total // ranks
        return slice(rank * share, (rank + 1) * share)
    if ranks % total:
        msg = f"{total} key-value heads can't be copied to {ranks} workers evenly."
        raise ShapeMismatchError(msg)
    own = rank // (ranks // total)
    return slice(own, own + 1)


def layer_key_values(whole: Tensor, layer: int, heads: slice, *, held: int, width: int) -> tuple[Tensor, Tensor]:
    """The keys and values that one layer of one worker holds.

    Args:
        whole: ``[virtual_tokens, num_layers, 2, kv_heads, head_dim]``.
        layer: The layer's number in the whole model.
        heads: The heads of this worker.
        held: Key-value heads that the layer holds here.
        width: Its head size.

    Returns:
        Keys and values, each ``[virtual_tokens, held, width]``.

    Raises:
        ShapeMismatchError: They do not fit the layer.
    """
    if layer >= whole.shape[1]:
        msg = f"The soft prompt has {whole.shape[1]} layers, and the model has a layer {layer}."
        raise ShapeMismatchError(msg)
    keys, values = (whole[:, layer, place, heads].contiguous() for place in (0, 1))
    if tuple(keys.shape[1:]) != (held, width):
        msg = f"The soft prompt has {tuple(keys.shape[1:])} heads and head size in layer {layer}, the model {(held, width)}."
        raise ShapeMismatchError(msg)
    return keys, values


def cast_finite(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in another dtype.

    Raises:
        ShapeMismatchError: Its numbers do not fit that dtype: one NaN in a cache block would spoil requests that get it later.
    """
    cast = tensor.to(dtype)
    if not bool(torch.isfinite(cast).all()):
        msg = f"The soft prompt's numbers do not fit {str(dtype).removeprefix('torch.')}."
        raise ShapeMismatchError(msg)
    return cast


__all__ = ["ShapeMismatchError", "cast_finite", "heads_of_rank", "layer_key_values"]
