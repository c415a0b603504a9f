"""Branches: positions of a part that stand as a tree rather than in a row, and which models can be shown them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_KINDS = frozenset({"full_attention", "sliding_attention"})
# What limits sight by columns rather than by a mask has one of these in its name.
_LIMITS = ("window", "chunk", "local", "block", "sparse", "dilat", "attention_layers")
# The layers' kinds say what these say, or they are about something else.
_UNDERSTOOD = frozenset(
    {
        "sliding_window",
        "use_sliding_window",
        "max_window_layers",
        "sliding_window_pattern",
        "_sliding_window_pattern",
        "chunk_size_feed_forward",
        "decoder_sparse_step",
        "num_local_experts",
    }
)


@dataclass(frozen=True, eq=False, slots=True)
class Branches:
    """Several continuations of one row, their shared beginnings once, as in SpecInfer's token trees (arXiv:2305.09781).

    Attributes:
        positions: Where in its own continuation each position stands, ``[length]``.
        seen: Which columns each of them sees, itself included, booleans ``[length, past_length + length]``. Columns before the part
            stand at the position of their own number.
    """

    positions: Tensor
    seen: Tensor

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Zero for what is seen, minus infinity for what is not, ``[length, past_length + length]``.

        Args:
            window: How many positions back is seen, the own one included; ``None`` for all.
            dtype: Of the mask.
        """
        seen = self.seen
        if window is not None:
            length, columns = seen.shape
            stands = torch.cat([torch.arange(columns - length, device=seen.device), self.positions])
            seen = seen & (stands[None] > self.positions[:, None] - window)
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)


def attention_windows(config: Any) -> Mapping[str, int | None] | None:
    """How far each kind of layer sees, as far as a mask from outside can say it.

    A window that a mask can't replace shows only past its size, where no quick test looks; so a configuration that speaks of
    one in an unknown way is not tried.

    Args:
        config: The model's text configuration.

    Returns:
        The kinds of layers with their windows in positions, ``None`` for none; ``None`` altogether where it can't be told.
    """
    facts: dict[str, Any] = config.to_dict()
    unknown = [name for name, value in facts.items() if value and name not in _UNDERSTOOD and any(word in name for word in _LIMITS)]
    if unknown:
        return None
    window = facts.get("sliding_window")
    kinds = facts.get("layer_types")
    if kinds is None:
        return None if window is not None and facts.get("use_sliding_window") is False else {"": window}
    if not set(kinds) <= _KINDS:
        return None
    return {kind: window if kind == "sliding_attention" else None for kind in dict.fromkeys(kinds)}


__all__ = ["Branches", "attention_windows"]
