"""The inside of a call's markers becomes calls: JSON, named JSON, XML, Python."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from langchain_softprompt.tool_calls.pieces import ToolCall, UnreadableCallError

# What families call the arguments, the likeliest first.
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_NAMES = ("name", "function", "tool", "tool_name")
_NAMED = re.compile(r"\s*([\w.\-]+)\s*(?:\[CALL_ID\][^\[{]*)?(?:\[ARGS\])?\s*(?=\{)")
_FUNCTION = re.compile(r"\s*<function=([^>\s]+)\s*>(.*?)</function>\s*", re.DOTALL)
_PARAMETER = re.compile(r"\s*<parameter=([^>\s]+)\s*>(.*?)(?:</parameter>\s*|(?=<parameter=)|\Z)", re.DOTALL)
_FENCE = re.compile(r"\A\s*```[a-z_]*\s*\n?(.*?)\s*(?:```\s*)?\Z", re.DOTALL)
_LONGEST_QUOTE = 100


def json_calls(body: str) -> list[ToolCall]:
    """One call as a JSON object, several as a list, or as objects one after another, with ``;`` or commas between them.

    Raises:
        UnreadableCallError: It is no JSON, or none that names a tool.
    """
    text, calls, at = _unfenced(body), [], 0
    while at < len(text):
        value, at = _value_at(text, at)
        calls += [_call(entry) for entry in (value if isinstance(value, list) else [value])]
        at = _skip(text, at)
    return _some(calls)


def named_json_calls(body: str) -> list[ToolCall]:
    """``name{...}`` or ``name[ARGS]{...}`` one after another, as newer Mistral models write; or what `json_calls` reads.

    Raises:
        UnreadableCallError: It is neither.
    """
    if body.lstrip()[:1] in ("{", "["):
        return json_calls(body)
    calls, at = [], 0
    while at < len(body.rstrip()):
        named = _NAMED.match(body, at)
        if named is None:
            msg = f"expected a tool's name and its arguments as JSON, found {_short(body[at:])}"
            raise UnreadableCallError(msg)
        arguments, at = _value_at(body, named.end())
        calls.append(ToolCall(named[1], _mapping(arguments)))
        at = _skip(body, at)
    return _some(calls)


def xml_calls(body: str) -> list[ToolCall]:
    """``<function=name><parameter=key>value</parameter></function>``, as Qwen's coders write; or what `json_calls` reads.

    Values are text; `arguments.fitted_arguments` brings them to the types that are wanted. A function without its end is no
    call: its last value may be the half of one.

    Raises:
        UnreadableCallError: It is neither.
    """
    if "<function=" not in body:
        return json_calls(body)
    calls = []
    for name, inside in _one_after_another(_FUNCTION, body, "function"):
        values = _one_after_another(_PARAMETER, inside, "parameter")
        calls.append(ToolCall(name, {key: value.removeprefix("\n").removesuffix("\n") for key, value in values}))
    return calls


def _one_after_another(pattern: re.Pattern[str], text: str, word: str) -> list[tuple[str, str]]:
    """The groups of each match, with nothing between the matches."""
    found, at = [], 0
    while at < len(text.rstrip()):
        match = pattern.match(text, at)
        if match is None:
            msg = f"expected <{word}=name>...</{word}>, found {_short(text[at:])}"
            raise UnreadableCallError(msg)
        found.append((match[1], match[2]))
        at = match.end()
    return found


def python_calls(body: str) -> list[ToolCall]:
    """``name(key="value")``, one a line or in a list, as Gemma 3 and Llama 3.2 write; or what `json_calls` reads.

    Nothing is run: only calls whose arguments are named literals are read.

    Raises:
        UnreadableCallError: It is neither.
    """
    text = _unfenced(body)
    if text.lstrip()[:1] == "{":
        return json_calls(body)
    try:
        parsed = ast.parse(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return json_calls(body)
    calls: list[ToolCall] = []
    for statement in parsed.body:
        if not isinstance(statement, ast.Expr):
            msg = f"expected calls only, found {_short(ast.unparse(statement))}"
            raise UnreadableCallError(msg)
        value = statement.value
        entries = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
        if entries and not any(isinstance(entry, ast.Call) for entry in entries):
            return json_calls(body)
        calls += [_python_call(entry) for entry in entries]
    return _some(calls)


def _python_call(node: ast.expr) -> ToolCall:
    called = node.func if isinstance(node, ast.Call) else None
    # print(f(...)) is how some models say f(...).
    if isinstance(node, ast.Call) and isinstance(called, ast.Name) and called.id == "print" and len(node.args) == 1:
        return _python_call(node.args[0])
    named = isinstance(node, ast.Call) and not node.args and all(keyword.arg for keyword in node.keywords)
    if not isinstance(node, ast.Call) or not named or not isinstance(called, ast.Name | ast.Attribute):
        msg = f"expected name(key=value), found {_short(ast.unparse(node))}"
        raise UnreadableCallError(msg)
    try:
        arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        msg = f"an argument is no plain value: {error}"
        raise UnreadableCallError(msg) from error
    return ToolCall(ast.unparse(called), arguments)


def _value_at(text: str, at: int) -> tuple[Any, int]:
    start = _skip(text, at)
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        msg = f"no JSON: {error}"
        raise UnreadableCallError(msg) from error
    return value, end


def _skip(text: str, at: int) -> int:
    while at < len(text) and (text[at].isspace() or text[at] in ",;"):
        at += 1
    return at


def _call(entry: Any) -> ToolCall:
    if not isinstance(entry, Mapping):
        msg = f"expected an object with a tool's name, found {_short(json.dumps(entry, ensure_ascii=False))}"
        raise UnreadableCallError(msg)
    inside = entry.get("function")
    if isinstance(inside, Mapping):  # OpenAI's own nesting
        return _call(inside)
    name = next((entry[key] for key in _NAMES if isinstance(entry.get(key), str)), None)
    if not name:
        msg = f"no tool is named in {_short(json.dumps(entry, ensure_ascii=False))}"
        raise UnreadableCallError(msg)
    return ToolCall(name, _mapping(next((entry[key] for key in _ARGUMENTS if entry.get(key) is not None), {})))


def _mapping(arguments: Any) -> Mapping[str, Any]:
    if isinstance(arguments, str):  # arguments written as JSON in a string, as in OpenAI's protocol
        with suppress(ValueError, RecursionError):
            arguments = _DECODER.decode(arguments) if arguments.strip() else {}
    if not isinstance(arguments, Mapping):
        msg = f"expected arguments by name, found {_short(json.dumps(arguments, ensure_ascii=False))}"
        raise UnreadableCallError(msg)
    return arguments


def _some(calls: list[ToolCall]) -> list[ToolCall]:
    if not calls:
        msg = "no call between the markers"
        raise UnreadableCallError(msg)
    return calls


def _unfenced(body: str) -> str:
    fenced = _FENCE.match(body)
    return fenced[1] if fenced else body.strip()


def _no_constant(name: str) -> Any:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


def _short(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "...")


# Control characters inside strings are let through: small models write line breaks there.
_DECODER = json.JSONDecoder(strict=False, parse_constant=_no_constant)

__all__ = ["json_calls", "named_json_calls", "python_calls", "xml_calls"]
