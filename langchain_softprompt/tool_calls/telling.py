"""Tools and calls in words, for chat templates that know neither."""

from __future__ import annotations

import json
from collections.abc import Sequence

from langchain_softprompt.tool_calls.formats import ToolFormat
from langchain_softprompt.tool_calls.pieces import Tool, ToolCall


def tell_tools(tools: Sequence[Tool], tool_format: ToolFormat) -> str:
    """What a system message says of the tools, where the chat template does not say it."""
    listed = "\n".join(json.dumps(tool.described, ensure_ascii=False) for tool in tools)
    example = tool_format.frame.write([ToolCall("tool_name", {"argument_name": "value"})])
    return (
        f"You can call these tools:\n<tools>\n{listed}\n</tools>\n"
        f"To call a tool, answer with nothing but the call, written like this:\n{example}\n"
        "Call a tool only when it helps. Otherwise answer in words."
    )


def told_result(content: str, name: str | None = None) -> str:
    """What a tool answered, as part of a user's message."""
    named = f' name="{name}"' if name else ""
    return f"<tool_response{named}>\n{content}\n</tool_response>"


__all__ = ["tell_tools", "told_result"]
