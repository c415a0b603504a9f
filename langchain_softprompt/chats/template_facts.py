"""TemplateFacts: what a chat template tells the model of tools. It is found out by trying, as templates say it in many ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_softprompt.errors import ChatTemplateError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

_TOOL, _CALLED, _ANSWERED = "zqtool", "zqcall", "zqanswer"
_OFFERED = {"type": "function", "function": {"name": _TOOL, "description": "x", "parameters": {"type": "object", "properties": {}}}}
_USER: dict[str, Any] = {"role": "user", "content": "x"}
_CALL = {"type": "function", "id": "abcdefghi", "function": {"name": _CALLED, "arguments": {"x": "y"}}}


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """What a chat template passes on.

    Attributes:
        tools: The tools that are offered.
        calls: An assistant's calls, and what the tools answered.
    """

    tools: bool
    calls: bool


def template_facts(tokenizer: PreTrainedTokenizerBase) -> TemplateFacts:
    """Find out, once for each template."""
    template: Any = tokenizer.chat_template
    return _facts(_Asked(tokenizer, tuple(sorted(template.items())) if isinstance(template, dict) else template))


class _Asked:
    """A tokenizer, told from others by its template alone."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: object) -> None:
        self.tokenizer = tokenizer
        self.template = template

    def __hash__(self) -> int:
        return hash(self.template)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self.template == other.template


@lru_cache(maxsize=64)
def _facts(asked: _Asked) -> TemplateFacts:
    offered: list[dict[str, Any]] = [_OFFERED]
    tools = _TOOL in _rendered(asked.tokenizer, [_USER], offered)
    answered = {"role": "tool", "tool_call_id": "abcdefghi", "name": _CALLED, "content": _ANSWERED}
    chat: list[dict[str, Any]] = [_USER, {"role": "assistant", "content": "", "tool_calls": [_CALL]}, answered]
    said = _rendered(asked.tokenizer, chat, offered if tools else None)
    return TemplateFacts(tools, _CALLED in said.replace(_TOOL, "") and _ANSWERED in said)


def _rendered(tokenizer: PreTrainedTokenizerBase, chat: Sequence[Mapping[str, Any]], tools: list[dict[str, Any]] | None) -> str:
    """The template's text; nothing where it refuses."""
    from langchain_softprompt.frozen_model import render_chat

    try:
        ids = render_chat(tokenizer, chat, tools=tools)
    except ChatTemplateError:
        return ""
    return str(tokenizer.decode(ids))


__all__ = ["TemplateFacts", "template_facts"]
