"""Calls without marks: how far the beginning of an answer may be one."""

from __future__ import annotations

import re
from collections.abc import Collection

OPEN = -1
"""It may become a call, or has not come to its end."""

_FENCE = "```"
_FENCE_WORDS = ("", "json", "python", "tool_call", "tool_code")
_FIRST_KEYS = ("name", "function", "tool", "tool_name", "type", "id", "arguments", "parameters", "args", "input")
_FIRST_KEY = re.compile(r'(?:\[\s*)?\{\s*"([^"]*)("?)')
_BEFORE_FIRST_KEY = re.compile(r"(\[\s*)?(\{\s*)?")
_FENCED = re.compile(r"```([a-z_]*)")


def bare_length(text: str, tools: Collection[str]) -> int | None:
    """How long the call is that a text begins with.

    Args:
        text: The beginning of an answer, no white space before it.
        tools: The names of the tools that are offered.

    Returns:
        A number of characters; `OPEN`; or ``None`` where it is text, whatever follows.
    """
    if text[0] == "`":
        return _fenced_length(text, tools)
    if text[0] == "[" and (inside := text[1:].lstrip()) and inside[0] != "{":
        return OPEN if _may_be_python(inside, tools) else None
    return _json_length(text) if _may_be_json(text) else None


def _fenced_length(text: str, tools: Collection[str]) -> int | None:
    if _FENCE.startswith(text):
        return OPEN
    fence = _FENCED.match(text)
    if fence is None:
        return None
    word, rest = fence[1], text[fence.end() :]
    if not rest:
        return OPEN if any(known.startswith(word) for known in _FENCE_WORDS) else None
    inside = rest.lstrip()
    if word not in _FENCE_WORDS:
        return None
    said = word.startswith("tool_")  # nobody writes that before code of another kind
    if inside and not (said or _may_be_json(inside) or _may_be_python(inside.removeprefix("[").lstrip() or "[", tools)):
        return None
    end = text.find(_FENCE, fence.end())
    return end + len(_FENCE) if end >= 0 else OPEN


def _may_be_json(text: str) -> bool:
    if text[0] not in "{[":
        return False
    key = _FIRST_KEY.match(text)
    if key is None:
        return _BEFORE_FIRST_KEY.fullmatch(text) is not None
    return key[1] in _FIRST_KEYS if key[2] else any(name.startswith(key[1]) for name in _FIRST_KEYS)


def _may_be_python(text: str, tools: Collection[str]) -> bool:
    return any(text.startswith(f"{name}(") or f"{name}(".startswith(text) for name in tools)


def _json_length(text: str) -> int:
    depth, inside, at = 0, False, 0
    while at < len(text):
        character = text[at]
        if inside:
            if character == "\\":
                at += 1
            inside = character != '"'
        elif character == '"':
            inside = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return OPEN


__all__ = ["OPEN", "bare_length"]
