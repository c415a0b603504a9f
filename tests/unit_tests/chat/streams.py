"""A stream's chunks, put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain_core.messages import AIMessageChunk


def merged(chunks: Iterable[Any]) -> AIMessageChunk:
    """All chunks of a stream as one."""
    whole, *rest = chunks
    for chunk in rest:
        whole += chunk
    return whole  # type: ignore[no-any-return]
