"""One LangChain message, one plain dictionary that a chat template reads. What can't be said in text is refused, never dropped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_softprompt.chats import PlainMessage
from langchain_softprompt.errors import ChatTemplateError

# In an AI message these say again what `tool_calls` says, or are the model's own scratchpad.
_TOLD_ELSEWHERE = frozenset({"tool_call", "tool_call_chunk", "invalid_tool_call", "tool_use", "function_call", "input_json_delta"})
_REASONING = frozenset({"reasoning", "thinking", "redacted_thinking"})
_TEXT_KEYS = {"text": "text", "text-plain": "text", "refusal": "refusal", "output_text": "text", "input_text": "text"}


def to_plain_messages(messages: Sequence[BaseMessage]) -> list[PlainMessage]:
    """Convert LangChain messages to the dictionaries that chat templates know.

    Text blocks of one message are joined. Reasoning goes under ``reasoning_content``, tool calls keep their arguments
    as an object, tool answers keep their ``tool_call_id`` and ``name``.

    Raises:
        ChatTemplateError: A message of an unknown kind, or one that holds an image, audio, video or file.
    """
    return [_to_plain(message) for message in messages]


def _to_plain(message: BaseMessage) -> PlainMessage:
    plain: PlainMessage = {"role": _role(message), "content": _text(message)}
    if message.name:
        plain["name"] = message.name
    if isinstance(message, AIMessage):
        _add_tool_calls(plain, message)
        _add_reasoning(plain, message)
    elif isinstance(message, ToolMessage):
        plain["tool_call_id"] = message.tool_call_id
        if message.status == "error" and not plain["content"].lower().startswith("error"):
            plain["content"] = f"Error: {plain['content']}"  # templates don't know the status
    return plain


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    roles = ((SystemMessage, "system"), (HumanMessage, "user"), (AIMessage, "assistant"), (ToolMessage, "tool"), (FunctionMessage, "tool"))
    for kind, role in roles:
        if isinstance(message, kind):
            return role
    msg = f"A message of type {type(message).__name__} can't be sent to a model. Send system, human, AI and tool messages."
    raise ChatTemplateError(msg)


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(_block_text(message, block) for block in message.content)


def _block_text(message: BaseMessage, block: str | dict[str, Any]) -> str:
    if isinstance(block, str):
        return block
    kind = str(block.get("type", "text"))
    if kind in _TEXT_KEYS and isinstance(block.get(_TEXT_KEYS[kind]), str):
        return str(block[_TEXT_KEYS[kind]])
    if isinstance(message, AIMessage) and kind in _TOLD_ELSEWHERE | _REASONING:
        return ""
    if isinstance(message, ToolMessage) and kind in {"json", "text"}:
        return json.dumps(block.get("json", block), ensure_ascii=False)
    msg = f"A {message.type} message holds a block of type {kind!r}, and this model reads text only. Take it out, or put it in words."
    raise ChatTemplateError(msg)


def _add_tool_calls(plain: PlainMessage, message: AIMessage) -> None:
    calls = [
        {"type": "function", "id": call["id"], "function": {"name": call["name"], "arguments": call["args"]}}
        for call in (*message.tool_calls, *message.invalid_tool_calls)
    ]
    if calls:
        plain["tool_calls"] = calls


def _add_reasoning(plain: PlainMessage, message: AIMessage) -> None:
    reasoning = message.additional_kwargs.get("reasoning_content")
    if not isinstance(reasoning, str):
        blocks = message.content if isinstance(message.content, list) else []
        thoughts = [block for block in blocks if isinstance(block, dict) and block.get("type") in _REASONING]
        reasoning = "".join(str(block.get("reasoning") or block.get("thinking") or "") for block in thoughts)
    if reasoning:
        plain["reasoning_content"] = reasoning
