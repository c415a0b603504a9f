"""usable_positions: how many positions a model can be served with."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)


def usable_positions(config: Any, name: str) -> int | None:
    """The context window, or that part of it in which a position means the same however long the row is.

    LongRoPE (arXiv:2402.13753) has two sets of frequencies, and which one is used depends on the longest row in the pass: keys
    that were read under one are wrong under the other. Up to the original length there is only the first.

    Args:
        config: The model's text configuration.
        name: What the model is called in the log.

    Returns:
        Positions; ``None`` where the model names no limit.
    """
    longest: int | None = getattr(config, "max_position_embeddings", None)
    parameters = getattr(config, "rope_parameters", None) or {}
    # Some models have a set of parameters for each kind of layer.
    for rope in (parameters, *(kind for kind in parameters.values() if isinstance(kind, dict))):
        if rope.get("rope_type") != "longrope":
            continue
        original = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
        if original is not None and (longest is None or original < longest):
            logger.warning(
                "%s is served up to %d positions, not %s: beyond them it reads all positions differently (longrope), and what was read "
                "before would be wrong.",
                name,
                original,
                longest,
            )
            longest = int(original)
    return longest


__all__ = ["usable_positions"]
