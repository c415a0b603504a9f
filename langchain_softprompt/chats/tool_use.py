"""ToolUse: which tools a call offers, what it asks for, and how it is put to the model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_softprompt.chats.format_words import with_words
from langchain_softprompt.chats.forms import PlainMessage
from langchain_softprompt.chats.template_facts import template_facts
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.tool_calls import Tool, ToolCall, ToolFormat, tell_tools, told_result

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ANY = frozenset({"any", "required"})
_SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The tools of one call.

    Attributes:
        offered: OpenAI's form of them, as chat templates read it.
        tools: The same, taken apart.
        wanted: The tools of which one has to be called; none where the model may answer in words.
        several: Whether it may call more than one at once.
    """

    offered: tuple[Mapping[str, Any], ...] = ()
    tools: tuple[Tool, ...] = ()
    wanted: tuple[Tool, ...] = ()
    several: bool = True

    @classmethod
    def of(cls, offered: Sequence[Mapping[str, Any]], choice: Any = None, *, parallel: bool | None = None) -> ToolUse:
        """What a call's arguments ask for.

        Args:
            offered: Tools in OpenAI's form.
            choice: ``None`` or ``"auto"``: the model decides; ``"none"``: no tool is offered; ``"any"``, ``"required"`` or
                ``True``: one has to be called; a tool's name, or OpenAI's or Anthropic's dictionary with it: that one.
            parallel: Whether several calls may come at once; ``None`` for yes.

        Raises:
            InvalidSettingsError: A tool is of an unknown form, two different ones have one name, or the choice names none of them.
        """
        said = [_without_titles(tool) for tool in offered]
        offered = [tool for at, tool in enumerate(offered) if said[at] not in said[:at]]
        tools = tuple(Tool.of(tool) for tool in offered)
        names = [tool.name for tool in tools]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            msg = f"tools: two are named {twice!r}, so a call could mean either. Rename one."
            raise InvalidSettingsError(msg)
        word = _choice_word(choice)
        if word == "none" and "none" not in names:
            return cls()
        use = cls(tuple(offered), tools, several=parallel is not False)
        if word is None or (word == "auto" and word not in names):
            return use
        if not tools:
            msg = f"tool_choice: {word!r} asks for a call, and no tools are offered. Give tools, or leave tool_choice out."
            raise InvalidSettingsError(msg)
        wanted = tuple(tool for tool in tools if tool.name == word)
        if not wanted and word not in _ANY:
            msg = f"tool_choice: expected auto, any, none, required or one of {', '.join(names)}, found {word!r}."
            raise InvalidSettingsError(msg)
        return replace(use, wanted=wanted or tools, several=use.several and not wanted)


def _without_titles(schema: Any) -> Any:
    """A schema without its remarks of that name: they are all that two ways of describing one tool differ in."""
    if isinstance(schema, Mapping):
        return {key: _without_titles(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    return [_without_titles(entry) for entry in schema] if isinstance(schema, list) else schema


def _choice_word(choice: Any) -> str | None:
    """A tool choice as one word: ``None``, a keyword, or a tool's name.

    Raises:
        InvalidSettingsError: It is of no known form.
    """
    if choice is None or choice is False:
        return None
    if choice is True:
        return "any"
    if isinstance(choice, str):
        return choice
    if isinstance(choice, Mapping):
        function = choice.get("function")
        named = function.get("name") if isinstance(function, Mapping) else choice.get("name")
        word = named or choice.get("type")
        if isinstance(word, str) and word not in {"function", "tool"}:
            return word
    msg = f"tool_choice: expected auto, any, none, required, a tool's name or a dictionary with one, found {choice!r}."
    raise InvalidSettingsError(msg)


def told_in_chat(
    tokenizer: PreTrainedTokenizerBase, chat: Sequence[PlainMessage], tools: Sequence[Tool], tool_format: ToolFormat
) -> tuple[list[PlainMessage], bool]:
    """A chat in which tools, calls and answers of tools reach the model, whatever its template knows.

    Returns:
        The chat, and whether the template itself is to be given the tools.
    """
    if not tools and not any(message["role"] == "tool" or message.get("tool_calls") for message in chat):
        return list(chat), False
    facts = template_facts(tokenizer)
    told = _with_names(chat)
    told = [_with_short_ids(message) for message in told] if facts.calls else [_in_words(message, tool_format) for message in told]
    if tools and not facts.tools:
        told = with_words(told, tell_tools(tools, tool_format))
    return told, bool(tools) and facts.tools


def _with_names(chat: Sequence[PlainMessage]) -> list[PlainMessage]:
    """Answers of tools with the tool's name, which some templates ask for, taken from the call."""
    names = {call.get("id"): call["function"]["name"] for message in chat for call in message.get("tool_calls", ())}
    return [
        {**message, "name": names[message["tool_call_id"]]}
        if message["role"] == "tool" and not message.get("name") and names.get(message.get("tool_call_id"))
        else message
        for message in chat
    ]


def _with_short_ids(message: PlainMessage) -> PlainMessage:
    """Identifiers of nine letters and digits, the only ones that Mistral's templates take; equal ones stay equal."""
    changed = dict(message)
    if "tool_call_id" in changed:
        changed["tool_call_id"] = _short_id(changed["tool_call_id"])
    if changed.get("tool_calls"):
        changed["tool_calls"] = [{**call, "id": _short_id(call.get("id"))} for call in changed["tool_calls"]]
    return changed


def _short_id(identifier: Any) -> str:
    text = str(identifier)
    return text if _SHORT_ID.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()[:9]


def _in_words(message: PlainMessage, tool_format: ToolFormat) -> PlainMessage:
    """A message whose calls, or whose being a tool's answer, are part of its text."""
    if message["role"] == "tool":
        return {"role": "user", "content": told_result(message["content"], message.get("name"))}
    calls = message.get("tool_calls")
    if not calls:
        return message
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    if any(map(_is_broken, calls)):
        said = "\n".join(_broken(call) if _is_broken(call) else tool_format.write([_call(call)]) for call in calls)
    else:
        said = tool_format.write([_call(call) for call in calls])
    return {**rest, "content": "\n".join(filter(None, (message["content"], said)))}


def _is_broken(call: Mapping[str, Any]) -> bool:
    return not isinstance(call["function"]["arguments"], Mapping)


def _call(call: Mapping[str, Any]) -> ToolCall:
    return ToolCall(call["function"]["name"] or "", call["function"]["arguments"])


def _broken(call: Mapping[str, Any]) -> str:
    """An invalid call's arguments are all that was written, marks included."""
    return str(call["function"]["arguments"] or "")


__all__ = ["ToolUse", "told_in_chat"]
