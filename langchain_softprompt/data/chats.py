"""Chats to learn from: messages whose last one is the answer, with the tools and the response format it was given under."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from langchain_softprompt.chats import PlainMessage, ToolUse, format_words, shows_format, with_words
from langchain_softprompt.data.chat_checks import FIELDS, ChatChecks, shown
from langchain_softprompt.data.examples import Example, check_length, completed, ending_model
from langchain_softprompt.data.rows import read_objects
from langchain_softprompt.errors import InvalidSettingsError, TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.tool_calls import ToolCall, find_format


@dataclass(frozen=True)
class Chat:
    """One chat, in the shape that OpenAI's fine-tuning files and transformers' chat templates share.

    Attributes:
        messages: ``{"role": "system" | "user" | "assistant" | "tool", "content": text}``, the last one by the assistant; an
            assistant's message may have ``tool_calls``, a tool's has ``tool_call_id``.
        tools: The tools that are offered, ``{"type": "function", "function": {...}}``.
        response_format: What the answer is held to, as for `ChatSoftPrompt`.
        show_schema: Whether it is told to the model in words, as for `ChatSoftPrompt`; ``None``: where tools are offered beside it.
        place: File and line it was read from.
    """

    messages: tuple[PlainMessage, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    response_format: Mapping[str, Any] | None = None
    show_schema: bool | None = None
    place: tuple[str, int] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, row: Mapping[str, Any], source: str = "chats", line: int | None = None) -> Self:
        """From one object of a file.

        Args:
            row: The object; other fields than those of this class are left out.
            source: Where it came from, for error messages.
            line: Its line there.

        Raises:
            TrainingDataError: It is no chat that ends with an answer; the error says what of it is wrong.
        """
        found = ChatChecks(source, line)
        messages = row.get("messages")
        if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
            found.refuse(f"expected messages, a list of at least two, found {shown(messages)}")
        plain = tuple(found.message(message, number) for number, message in enumerate(messages, start=1))
        found.answers_calls(plain)
        if plain[-1]["role"] != "assistant" or len(plain) < 2:
            found.refuse("the last message must be the assistant's answer, after at least one other message")
        tools = row.get("tools") or ()
        if not isinstance(tools, Sequence) or isinstance(tools, str):
            found.refuse(f"tools: expected a list, found {shown(tools)}")
        response_format = row.get("response_format")
        if response_format is not None and not isinstance(response_format, Mapping):
            found.refuse(f"response_format: expected an object, found {shown(response_format)}")
        show_schema = row.get("show_schema")
        if show_schema is not None and not isinstance(show_schema, bool):
            found.refuse(f"show_schema: expected true or false, found {shown(show_schema)}")
        found.known(row)
        chat = cls(plain, tuple(tools), response_format, show_schema, (source, line) if line is not None else None)
        try:
            names = {tool.name for tool in chat.use.tools}
            _ = format_words(response_format)
        except InvalidSettingsError as error:
            found.refuse(str(error).rstrip("."))
        except (KeyError, TypeError):
            found.refuse("response_format: expected OpenAI's shape, {'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}}")
        found.answer(chat, names)
        return chat

    @cached_property
    def use(self) -> ToolUse:
        """The tools that are offered."""
        return ToolUse.of([dict(tool) if isinstance(tool, Mapping) else {"tool": tool} for tool in self.tools])

    @cached_property
    def told(self) -> list[PlainMessage]:
        """All messages, with the response format in words if it is shown."""
        return with_words(self.messages, format_words(self.response_format) if shows_format(self.show_schema, self.use) else None)

    def to_json(self) -> dict[str, Any]:
        """The object of a file that this is read from."""
        written: dict[str, Any] = {"messages": list(self.messages)}
        if self.tools:
            written["tools"] = list(self.tools)
        if self.response_format is not None:
            written["response_format"] = self.response_format
        if self.show_schema is not None:
            written["show_schema"] = self.show_schema
        return written


def read_chats(file: str | Path) -> list[Chat]:
    """Read chats; every line is checked before any model is loaded.

    Args:
        file: As for `read_rows`, of rows with the fields ``messages`` and, optionally, ``tools``, ``response_format`` and ``show_schema``.

    Raises:
        TrainingDataError: The file can't be read, or a line is wrong; the error names it.
        MissingExtraError: The library ``datasets`` is needed and not installed.
    """
    chats = [Chat.of(_loaded(row), str(file), line) for line, row in read_objects(file)]
    if not chats:
        raise TrainingDataError(str(file), None, "holds no chats.")
    return chats


def chat_examples(model: FrozenModel, chats: Sequence[Chat], *, max_tokens: int, source: str) -> list[Example]:
    """Render chats exactly as `ChatSoftPrompt` renders the same messages, tools and response format when it serves them.

    Raises:
        TrainingDataError: There are no chats, or one is longer than `max_tokens`.
        FrozenModelError: The model has no end-of-sequence token to learn.
        ChatTemplateError: The model's chat template refuses the messages.
    """
    if not chats:
        raise TrainingDataError(source, None, "holds no chats.")
    ending_model(model)
    examples = []
    for number, chat in enumerate(chats, start=1):
        example = _example(model, chat)
        check_length(example, number, max_tokens, source, chat.place)
        examples.append(example)
    return examples


def _example(model: FrozenModel, chat: Chat) -> Example:
    last = chat.told[-1]
    written = last["content"]
    if last.get("tool_calls"):
        tool_format = find_format(None, getattr(model.tokenizer, "chat_template", None))
        calls = [ToolCall(call["function"]["name"], call["function"]["arguments"]) for call in last["tool_calls"]]
        written = "\n".join(filter(None, (written, tool_format.write(calls))))
    return completed(model, chat.told[:-1], last, written, use=chat.use)


def _loaded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A table's columns hold nested objects with a null for every key that another row has, or as JSON text."""
    read = dict(row)
    for name in FIELDS:
        value = read.get(name)
        if isinstance(value, str) and value[:1] in "[{":
            try:
                read[name] = json.loads(value)
            except ValueError:
                continue
    return read


__all__ = ["Chat", "chat_examples", "read_chats"]
