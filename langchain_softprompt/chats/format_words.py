"""A response format in words, for models that were not trained for it: the grammar alone makes valid JSON, not sensible JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_softprompt.chats.forms import PlainMessage

if TYPE_CHECKING:
    from langchain_softprompt.chats.tool_use import ToolUse


def format_words(response_format: Mapping[str, Any] | None) -> str | None:
    """What is said of a response format, in OpenAI's shape of one; ``None`` where there are no words for it."""
    given = response_format or {}
    kind = given.get("type")
    if kind == "json_object":
        return "Answer with a JSON object and nothing else."
    if kind == "json_schema":
        return f"Answer with JSON that fits this JSON schema, and nothing else: {_written(given['json_schema']['schema'])}"
    if kind == "choice":
        return f"Answer with one of these and nothing else: {_written(given['choices'])[1:-1]}"
    return None


def shows_format(chosen: bool | None, use: ToolUse) -> bool:  # noqa: FBT001
    """Whether the model is told of a response format.

    Where tools may be called, it has to choose between a call and an answer, and can't without knowing that an answer is wanted and of
    which form. Elsewhere the prompt stays the one that was written.

    Args:
        chosen: What the caller says; ``None`` for nothing.
        use: The tools on offer.
    """
    return (bool(use.tools) and not use.wanted) if chosen is None else chosen


def with_words(chat: Sequence[PlainMessage], words: str | None) -> list[PlainMessage]:
    """A chat with words at the end of its system message, or as one."""
    if words is None:
        return list(chat)
    if chat and chat[0]["role"] == "system":
        return [{**chat[0], "content": "\n\n".join(filter(None, (chat[0]["content"], words)))}, *chat[1:]]
    return [{"role": "system", "content": words}, *chat]


def _written(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


__all__ = ["format_words", "shows_format", "with_words"]
