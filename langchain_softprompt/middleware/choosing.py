"""SoftPromptMiddleware: what LangChain's agents call."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage
from typing_extensions import override

from langchain_softprompt.errors import SoftPromptChoiceError
from langchain_softprompt.messages import take_soft_prompt
from langchain_softprompt.middleware.pickers import Keep, Picker, check
from langchain_softprompt.middleware.wearing import can_wear, with_soft_prompt


class SoftPromptMiddleware(AgentMiddleware[Any, Any, Any]):
    """Picks the soft prompt of an agent's model for each of its calls.

    For instance::

        pick = by_phase(before_tools="acme/call-tools", after_tools="acme/write-answer")
        agent = create_agent(llm, tools=[search], middleware=[SoftPromptMiddleware(pick)])

    The pick takes the place of whatever soft prompt the model or its messages had; of several such middlewares the
    innermost, last in the agent's list, has the last word. A model that is no `ChatSoftPrompt` gets nothing: the rule is
    not even asked, and a soft prompt among the call's settings or in its messages is taken out, so that a fallback to
    another provider works.

    Args:
        pick: From the request to a soft prompt: a name, a folder, a loaded `SoftPrompt`, ``None`` for the bare model,
            or `KEEP` to leave the model as it is. Ready-made ones: `by_phase`, `by_tools`, `by_context`, `by_state`,
            `by_key`.

    Raises:
        SoftPromptChoiceError: `pick` is no plain function; or, at a model call, it named nothing, or the model is
            wrapped in something that would lose the choice.
        InvalidReferenceError: At a model call: what was picked can't name a soft prompt.
    """

    def __init__(self, pick: Picker) -> None:
        super().__init__()
        asynchronous = any(inspect.iscoroutinefunction(part) for part in (pick, getattr(pick, "__call__", None)))  # noqa: B004
        if not callable(pick) or asynchronous:
            found = "an async one" if asynchronous else f"a {type(pick).__name__}"
            msg = f"SoftPromptMiddleware takes a plain function from the request to a soft prompt, not {found}. See by_key and by_phase."
            raise SoftPromptChoiceError(msg)
        self._pick = pick

    @override
    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        return handler(self._with_pick(request))

    @override
    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | AIMessage:
        return await handler(self._with_pick(request))

    def _with_pick(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        if not can_wear(request.model):
            return _without_soft_prompt(request)
        choice = check(self._pick(request))
        if isinstance(choice, Keep):
            return request
        return _without_soft_prompt(request).override(model=with_soft_prompt(request.model, choice))


def _without_soft_prompt(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """The request without a soft prompt in its settings or messages: both beat what the model wears, and no other model knows them."""
    if "soft_prompt" in request.model_settings:
        settings = {name: value for name, value in request.model_settings.items() if name != "soft_prompt"}
        request = request.override(model_settings=settings)
    if request.system_message is not None:
        system, carried = take_soft_prompt([request.system_message])
        if carried:
            rest = cast("list[Any]", system)
            request = request.override(system_message=rest[0] if rest else None)
    messages, carried = take_soft_prompt(request.messages)
    return request.override(messages=cast("list[Any]", messages)) if carried else request
