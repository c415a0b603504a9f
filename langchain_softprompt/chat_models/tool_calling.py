"""From a call's arguments to the tools that the model is offered, and to what its answer is held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_tool
from typing_extensions import is_typeddict

from langchain_softprompt.chat_models.typed_dicts import typed_dict_schema
from langchain_softprompt.chats import ToolUse
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.messages.reasoning import CLOSING, OPENING
from langchain_softprompt.tool_calls import ToolFormat


def openai_tools(tools: Sequence[Any], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Anything that LangChain takes as a tool, in OpenAI's form.

    Raises:
        InvalidSettingsError: One of them can't be described to a model.
    """
    converted = []
    for tool in tools:
        try:
            converted.append(convert_to_openai_tool(typed_dict_schema(tool) if is_typeddict(tool) else tool, strict=strict))
        except Exception as error:
            msg = f"tools: {tool!r} can't be described to a model: {error}. Give functions with docstrings, tools, or JSON schemas."
            raise InvalidSettingsError(msg) from error
    return converted


def tool_use(arguments: Mapping[str, Any]) -> ToolUse:
    """The tools of one call.

    Raises:
        InvalidSettingsError: As `ToolUse.of`.
    """
    offered = openai_tools(arguments.get("tools") or ())
    return ToolUse.of(offered, arguments.get("tool_choice"), parallel=arguments.get("parallel_tool_calls"))


def special_id(tokenizer: Any, mark: str) -> int | None:
    """The token of a mark that is a special token; ``None`` for ordinary text."""
    if mark not in tokenizer.all_special_tokens:
        return None
    return int(tokenizer.convert_tokens_to_ids(mark))


def visible_ids(tokenizer: Any, tool_format: ToolFormat | None, *, reasoning: bool) -> frozenset[int]:
    """Special tokens that are part of how calls and reasoning are written, so that their text must be seen."""
    marks = {OPENING, CLOSING} if reasoning else set()
    if tool_format is not None:
        marks |= {tool_format.opening, tool_format.closing, "[ARGS]", "[CALL_ID]", "<escape>", '<|"|>', "<|python_tag|>"} - {""}
    return frozenset(found for mark in marks if (found := special_id(tokenizer, mark)) is not None)


__all__ = ["openai_tools", "special_id", "tool_use", "visible_ids"]
