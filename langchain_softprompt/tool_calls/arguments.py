"""Arguments brought to the types that a tool's schema wants, where nothing is lost by it; and held to JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_softprompt.tool_calls.pieces import UnreadableCallError

_WORDS = {"true": True, "false": False, "null": None, "none": None}


def fitted_arguments(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Cast what a small model wrote to what is wanted: ``"3"`` to 3, ``"true"`` to true, text that holds a list to the list.

    Whatever can't be cast without a loss stays as it is: the tool will say what it thinks of it.

    Args:
        arguments: By name.
        schema: JSON schema of the arguments.
    """
    properties = schema.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    return {str(name): _fitted(value, known.get(name)) for name, value in arguments.items()}


def json_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON has them; what it has no word for (Python's sets, a number too large, half of a character) is refused.

    A tool might take it, but the call could be neither streamed nor put into the next prompt.

    Raises:
        UnreadableCallError: Says what it is.
    """
    try:
        text = json.dumps(dict(arguments), ensure_ascii=False, allow_nan=False)
        text.encode()
        plain: dict[str, Any] = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"an argument is not JSON: {error}"
        raise UnreadableCallError(msg) from None
    return plain


def _fitted(value: Any, schema: Any) -> Any:
    wanted = _types(schema)
    if not wanted or _is_of(value, wanted):
        return value
    if isinstance(value, str):
        return _from_text(value, wanted)
    if "string" in wanted and isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    if "integer" in wanted and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _from_text(text: str, wanted: set[str]) -> Any:
    word = text.strip()
    if word.lower() in _WORDS:
        value: Any = _WORDS[word.lower()]
        return value if _is_of(value, wanted) else text
    try:
        value = json.loads(word)
    except (ValueError, RecursionError):
        return text
    if "integer" in wanted and isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if _is_of(value, wanted) else text


def _types(schema: Any) -> set[str]:
    """The types a schema allows; none known where it says nothing plain about them."""
    if not isinstance(schema, Mapping):
        return set()
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    if isinstance(kind, list):
        return set(map(str, kind))
    options = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, list):
        each = [_types(option) for option in options]
        return set().union(*each) if all(each) else set()
    return set()


def _is_of(value: Any, types: set[str]) -> bool:
    if isinstance(value, bool):
        return "boolean" in types
    if isinstance(value, int):
        return bool(types & {"integer", "number"})
    kinds = {str: "string", float: "number", list: "array", dict: "object", type(None): "null"}
    return kinds.get(type(value)) in types


__all__ = ["fitted_arguments", "json_arguments"]
