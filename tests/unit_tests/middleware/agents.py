"""A chat model for agents whose answers tell which soft prompt wrote them, and which calls a tool where its script says so."""

from __future__ import annotations

import re
from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.outputs import ChatResult

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import FakeEngine, FakeRequest, tiny_soft_prompt


def soft(name: str) -> SoftPrompt:
    return tiny_soft_prompt(sum(map(ord, name)), source=name)


CALL, WRITE = soft("call"), soft("write")


def tell(request: FakeRequest) -> str:
    """Answer with the name of the soft prompt that answers."""
    return request.soft_prompt.source if request.soft_prompt is not None else "bare"


def tell_and_call(request: FakeRequest) -> str:
    """The same, and call the first tool that is offered while the soft prompt `CALL` is worn."""
    offered = re.search(r'<tools>\n\{"name": "(\w+)"', request.prompt)
    if offered is None or tell(request) != CALL.source:
        return tell(request)
    return f'{tell(request)}\n<tool_call>{{"name": "{offered[1]}", "arguments": {{"text": "x"}}}}</tool_call>'


def tool_chat(**fields: Any) -> ChatSoftPrompt:
    return ChatSoftPrompt(model="fake", engine=FakeEngine(tell_and_call), **fields)


def fake_chat(**fields: Any) -> ChatSoftPrompt:
    return ChatSoftPrompt(model="fake", engine=FakeEngine(tell), **fields)


class ForeignChat(GenericFakeChatModel):
    """A model of another provider, which refuses settings it does not know as a remote API does."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if kwargs:
            msg = f"unknown parameters: {sorted(kwargs)}"
            raise ValueError(msg)
        return super()._generate(messages, stop, run_manager)


def foreign_chat() -> ForeignChat:
    return ForeignChat(messages=iter(["foreign"] * 10))
