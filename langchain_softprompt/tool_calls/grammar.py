"""The grammars of an answer that has to be a call, and of one that may be, in llguidance's Lark dialect."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from langchain_softprompt.tool_calls.formats import ToolFormat
from langchain_softprompt.tool_calls.pieces import Tool

_MARK = re.compile(r"(<[^<>\s]+>|\[[A-Z_]+\])")
# A small model that may call again and again does.
_MOST_CALLS = 8
# As `json.dumps` writes, which is what models were shown in training.
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def call_grammar(
    tool_format: ToolFormat, tools: Sequence[Tool], *, several: bool, special_id: Callable[[str], int | None], otherwise: str | None = None
) -> str:
    """The answer is one call of one of the tools, or several (eight at most), and nothing else.

    Args:
        tool_format: How the model writes calls.
        tools: What may be called, at least one.
        several: Whether more than one call may come.
        special_id: The token of a mark that is one token of its own, not text; else ``None``.
        otherwise: A JSON schema that the answer may fit instead.
    """
    frame = tool_format.frame
    between = f" ({_text(frame.between, special_id)} call){{0,{_MOST_CALLS - 1}}}" if several else ""
    calls = f"calls: {_text(frame.before, special_id)} call{between} {_text(frame.after, special_id)}"
    start, answer = "start: calls", ""
    if otherwise is not None:
        schema = json.dumps({**json.loads(otherwise), "x-guidance": _SPACING}, ensure_ascii=False)
        start, answer = "start: calls | answer", f"answer: %json {schema}\n"
    return f"%llguidance {{}}\n{start}\n{calls}\n{answer}{_call_rule(frame.arguments, tools)}"


def free_grammar(tool_format: ToolFormat, tools: Sequence[Tool], *, several: bool, special_id: Callable[[str], int | None]) -> str | None:
    """The answer is text, and what follows a mark that opens calls is calls; arguments as `call_grammar`.

    Returns:
        ``None`` where calls have no opening mark, so that nothing tells them from text.
    """
    opening, frame = tool_format.opening, tool_format.frame
    if not opening or not frame.before.startswith(opening):
        return None
    most = _MOST_CALLS if several else 1
    # Where each call has marks of its own, further ones begin anew: behind a mark the lexer could not tell them from text.
    apart = bool(frame.after) and frame.between.startswith(frame.after)
    between = "" if apart or most == 1 else f" ({_text(frame.between, special_id)} call){{0,{most - 1}}}"
    rest = f"{_text(frame.before[len(opening) :], special_id)} call{between} {_text(frame.after, special_id)}"
    token = special_id(opening)
    if token is not None:
        head = f"calls: TEXT <[{token}]> {rest}"
    else:
        head = f"head[lazy]: TEXT {json.dumps(opening, ensure_ascii=False)}\ncalls: head {rest}"
    # Behind the last call that may come there is nothing, as text could open another one.
    last = most if apart else 1
    start = f"start: calls{{0,{last - 1}}} TEXT | calls{{{last}}}" if last > 1 else "start: TEXT | calls"
    return f"%llguidance {{}}\n{start}\nTEXT: /(.|\\n)*/\n{head}\n{_call_rule(frame.arguments, tools)}"


def _call_rule(arguments: str, tools: Sequence[Tool]) -> str:
    return f"call: %json {json.dumps(_call_schema(arguments, tools), ensure_ascii=False)}\n"


def _call_schema(arguments: str, tools: Sequence[Tool]) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, arguments: _hoisted(tool, definitions)},
            "required": ["name", arguments],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    whole = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**whole, **({"$defs": definitions} if definitions else {}), "x-guidance": _SPACING}


def _hoisted(tool: Tool, definitions: dict[str, Any]) -> dict[str, Any]:
    """A tool's schema with its definitions moved to the top, under names of the tool's own."""
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False, **tool.parameters}
    moved: dict[str, Any] = {}
    for key in ("$defs", "definitions"):
        for name, definition in (schema.pop(key, None) or {}).items():
            moved[f"#/{key}/{name}"] = (f"{tool.name}.{name}", definition)
    for new_name, definition in moved.values():
        definitions[new_name] = _redirected(definition, moved)
    redirected: dict[str, Any] = _redirected(schema, moved)
    return redirected


def _redirected(schema: Any, moved: dict[str, Any]) -> Any:
    if isinstance(schema, dict):
        return {
            key: f"#/$defs/{moved[value][0]}" if key == "$ref" and isinstance(value, str) and value in moved else _redirected(value, moved)
            for key, value in schema.items()
        }
    return [_redirected(entry, moved) for entry in schema] if isinstance(schema, list) else schema


def _text(text: str, special_id: Callable[[str], int | None]) -> str:
    """Text as terminals, marks that are one token as that token."""
    terminals: list[str] = []
    for part in _marks(text):
        token = special_id(part)
        if token is not None:
            terminals.append(f"<[{token}]>")
        elif terminals and terminals[-1].startswith('"'):
            terminals[-1] = json.dumps(json.loads(terminals[-1]) + part, ensure_ascii=False)
        else:
            terminals.append(json.dumps(part, ensure_ascii=False))
    return " ".join(terminals)


def _marks(text: str) -> list[str]:
    """Text cut up so that each ``<mark>`` and ``[MARK]`` stands alone."""
    return [part for part in _MARK.split(text) if part]


__all__ = ["call_grammar", "free_grammar"]
