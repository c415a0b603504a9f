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
# Where a block that is a call has its identifier and its arguments.
_CALL_BLOCKS = {"tool_call": ("id", "args"), "tool_use": ("id", "input"), "function_call": ("call_id", "arguments")}
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
    told: list[Any] = [*message.tool_calls, *message.invalid_tool_calls]
    calls = [
        {"type": "function", "id": call["id"], "function": {"name": call["name"], "arguments": call["args"]}}
        for call in (*told, *_calls_told_nowhere_else(message, told))
    ]
    if calls:
        plain["tool_calls"] = calls


def _calls_told_nowhere_else(message: AIMessage, told: list[Any]) -> list[Any]:
    """Calls in content blocks, or under the old ``function_call``, that LangChain did not put into `tool_calls`."""
    known = {call["id"] for call in told}
    found = []
    for block in message.content if isinstance(message.content, list) else []:
        if not isinstance(block, dict) or block.get("type") not in _CALL_BLOCKS:
            continue
        id_key, arguments_key = _CALL_BLOCKS[str(block["type"])]
        identifier = block.get(id_key)
        if identifier not in known and (identifier is not None or not told):
            found.append({"id": identifier, "name": block.get("name"), "args": _as_object(block.get(arguments_key))})
    old = message.additional_kwargs.get("function_call")
    if isinstance(old, dict) and not told and not found:
        found.append({"id": None, "name": old.get("name"), "args": _as_object(old.get("arguments"))})
    return found


def _as_object(arguments: Any) -> Any:
    """Arguments that are JSON in a text as what the text says; a text that says no object stays as it is."""
    if not isinstance(arguments, str):
        return arguments if arguments is not None else {}
    try:
        read = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return read if isinstance(read, dict) else arguments


def _add_reasoning(plain: PlainMessage, message: AIMessage) -> None:
    reasoning = message.additional_kwargs.get("reasoning_content")
    if not isinstance(reasoning, str):
        blocks = message.content if isinstance(message.content, list) else []
        thoughts = [block for block in blocks if isinstance(block, dict) and block.get("type") in _REASONING]
        reasoning = "".join(str(block.get("reasoning") or block.get("thinking") or "") for block in thoughts)
    if reasoning:
        plain["reasoning_content"] = reasoning
