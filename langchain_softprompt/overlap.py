"""How much of a mark stands at the end of a text that goes on: so much is held back until it is clear what comes of it."""

from __future__ import annotations


def overlap(text: str, mark: str) -> int:
    """How many characters at the end of a text may be the beginning of a mark, the whole mark left out."""
    return next((size for size in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:size])), 0)


__all__ = ["overlap"]
