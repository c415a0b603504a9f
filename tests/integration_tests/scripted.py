"""A chat model for documented examples: it calls the tool that is offered once a turn, answers in the form that is asked for,
and else says which soft prompt it wears. What a real model would say is of no matter there; who is asked for what is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import FakeEngine, FakeRequest, tiny_soft_prompt


def soft(name: str) -> SoftPrompt:
    return tiny_soft_prompt(sum(map(ord, name)), source=name)


def chat(arguments: Mapping[str, Any] | None = None, form: Any = None) -> ChatSoftPrompt:
    """A model whose calls have these arguments, by tool, and whose structured answers are this value."""

    def answer(request: FakeRequest) -> str:
        tools = re.findall(r'^\{"name": "(\w+)"', request.prompt, re.MULTILINE)
        told = "<tool_response" in request.prompt
        if tools and not told:
            return f"<tool_call>{json.dumps({'name': tools[0], 'arguments': (arguments or {}).get(tools[0], {})})}</tool_call>"
        if request.constraint is not None and form is not None and not tools:
            return json.dumps(form)
        return request.soft_prompt.source if request.soft_prompt is not None else "bare"

    return ChatSoftPrompt(model="fake", engine=FakeEngine(answer), max_tokens=400)


def wore(message: Any) -> Any:
    """The soft prompt that an answer says it was written with."""
    return message.response_metadata["soft_prompt"]


def answers(state: Mapping[str, Any]) -> list[Any]:
    """The soft prompts of all answers in a state, in their order."""
    return [wore(message) for message in state["messages"] if isinstance(message, AIMessage)]


def asked(llm: ChatSoftPrompt) -> list[str | None]:
    """The soft prompts that the engine was asked for."""
    requests: Any = llm.engine.requests  # type: ignore[union-attr]
    return [request.soft_prompt.source if request.soft_prompt is not None else None for request in requests]
