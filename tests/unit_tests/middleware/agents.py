"""A chat model for agents whose answers tell which soft prompt wrote them, and which calls a tool where its script says so."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.messages.tool import tool_call
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


class ToolChat(ChatSoftPrompt):
    """Calls the first tool it is offered while the soft prompt `CALL` is worn."""

    offered: tuple[str, ...] = ()
    bound_arguments: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        names = tuple(tool["function"]["name"] if isinstance(tool, dict) else tool.name for tool in tools)
        return self.model_copy(update={"offered": names, "bound_arguments": kwargs})

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return self._with_call(super()._generate(messages, stop, run_manager, **kwargs))

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return self._with_call(await super()._agenerate(messages, stop, run_manager, **kwargs))

    def _with_call(self, result: ChatResult) -> ChatResult:
        message = result.generations[0].message
        if isinstance(message, AIMessage) and message.text == CALL.source and self.offered:
            message.tool_calls = [tool_call(name=self.offered[0], args={"text": "x"}, id="1")]
        return result


def tool_chat(**fields: Any) -> ToolChat:
    return ToolChat(model="fake", engine=FakeEngine(tell), streaming=False, **fields)


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
