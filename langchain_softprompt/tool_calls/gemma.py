"""Gemma's own notation of calls: ``call:name{key:value,...}``, with marks around text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_softprompt.tool_calls.bodies import json_calls
from langchain_softprompt.tool_calls.pieces import ToolCall, UnreadableCallError

_CALL = re.compile(r"\s*call:([\w.\-]+)\s*(?=\{)")
_KEY = re.compile(r"\s*([^:{}\[\],]+?)\s*:")
_BARE = re.compile(r"[^,\]}]*")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_WORDS = {"true": True, "false": False, "null": None}
_DEEPEST = 50


def gemma_calls(quote: str) -> Callable[[str], list[ToolCall]]:
    """Make what reads such calls.

    Args:
        quote: The mark before and after text: ``<escape>`` for FunctionGemma, ``<|"|>`` for Gemma 4.

    Returns:
        From the inside of a call's markers its calls; raises `UnreadableCallError`.
    """

    def read(body: str) -> list[ToolCall]:
        if body.lstrip()[:1] in ("{", "["):
            return json_calls(body)
        calls, at = [], 0
        while at < len(body.rstrip()):
            named = _CALL.match(body, at)
            if named is None:
                msg = f"expected call:name{{...}}, found {body[at : at + 100]!r}"
                raise UnreadableCallError(msg)
            value, at = _value(body, named.end(), quote, 0)
            calls.append(ToolCall(named[1], value))
        return calls

    return read


def gemma_text(calls: Sequence[ToolCall], quote: str, opening: str, closing: str) -> str:
    """Calls as such a model writes them."""
    return "".join(f"{opening}call:{call.name}{_written(call.arguments, quote)}{closing}" for call in calls)


def _written(value: Any, quote: str) -> str:
    if isinstance(value, str):
        return quote + value + quote
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(entry, quote)}" for key, entry in sorted(value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_written(entry, quote) for entry in value) + "]"
    return json.dumps(value)


def _value(text: str, at: int, quote: str, depth: int) -> tuple[Any, int]:
    at = _skip(text, at)
    if depth > _DEEPEST:
        msg = f"arguments more than {_DEEPEST} levels deep"
        raise UnreadableCallError(msg)
    if text.startswith(quote, at):
        start = at + len(quote)
        end = text.find(quote, start)
        if end < 0:
            msg = f"text that is not closed by {quote}"
            raise UnreadableCallError(msg)
        return text[start:end], end + len(quote)
    if text[at : at + 1] == "{":
        return _object(text, at + 1, quote, depth)
    if text[at : at + 1] == "[":
        return _list(text, at + 1, quote, depth)
    bare = _BARE.match(text, at)
    word = bare[0] if bare else ""
    return _word(word.strip()), at + len(word)


def _object(text: str, at: int, quote: str, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while True:
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return found, at + 1
        key = _KEY.match(text, at)
        if key is None:
            msg = f"expected key:value or a closing brace, found {text[at : at + 100]!r}"
            raise UnreadableCallError(msg)
        found[key[1].removeprefix(quote).removesuffix(quote)], at = _value(text, key.end(), quote, depth + 1)
        at = _comma(text, at, "}")


def _list(text: str, at: int, quote: str, depth: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while True:
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            return found, at + 1
        value, at = _value(text, at, quote, depth + 1)
        found.append(value)
        at = _comma(text, at, "]")


def _comma(text: str, at: int, closing: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] == ",":
        return at + 1
    if text[at : at + 1] != closing:
        msg = f"expected , or {closing}, found {text[at : at + 100]!r}"
        raise UnreadableCallError(msg)
    return at


def _word(word: str) -> Any:
    if word in _WORDS:
        return _WORDS[word]
    if _NUMBER.fullmatch(word):
        return json.loads(word)
    if not word:
        msg = "a key without a value"
        raise UnreadableCallError(msg)
    return word


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


__all__ = ["gemma_calls", "gemma_text"]
