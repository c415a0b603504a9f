"""How a call comes in: with the soft prompt that its messages carry, its config or its arguments name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableConfig, run_in_executor
from typing_extensions import override

from langchain_softprompt.calls.arguments import check_call, check_configurable
from langchain_softprompt.calls.errors import in_langchain_family
from langchain_softprompt.chat_models.composing import ComposableChat
from langchain_softprompt.messages import take_soft_prompt


class EnteredChat(ComposableChat):
    """Settles which soft prompt a call wears before caches and traces hear of it."""

    # The soft prompt is settled before the LLM cache is asked, so that what was looked up is what answers.

    @override
    def _generate_with_cache(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        check_call(kwargs)
        messages, kwargs = with_carried(messages, kwargs)
        kwargs["soft_prompt"] = self._soft_prompt(kwargs)
        return super()._generate_with_cache(messages, stop=stop, run_manager=run_manager, **kwargs)

    @override
    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        check_call(kwargs)
        messages, kwargs = with_carried(messages, kwargs)
        named = isinstance(kwargs.get("soft_prompt", self.soft_prompt), str | Path)  # only a name has to be loaded
        kwargs["soft_prompt"] = await run_in_executor(None, self._soft_prompt, kwargs) if named else self._soft_prompt(kwargs)
        return await super()._agenerate_with_cache(messages, stop=stop, run_manager=run_manager, **kwargs)

    # A soft prompt that the messages carry becomes an argument of the call, so that caches and traces know it from the
    # start. A config that names one is either followed or refused.

    def _entered(self, given: Any, config: RunnableConfig | None, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        messages = self._convert_input(given).to_messages()
        without, settled = with_carried(messages, arguments)
        check_configurable(config, arguments, settled.get("soft_prompt", self.soft_prompt))
        return (given, arguments) if without is messages else (without, settled)

    @override
    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AIMessage:
        given, kwargs = self._entered(input, config, kwargs)
        return super().invoke(given, config, stop=stop, **kwargs)

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AIMessage:
        given, kwargs = self._entered(input, config, kwargs)
        return await super().ainvoke(given, config, stop=stop, **kwargs)

    @override
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        given, kwargs = self._entered(input, config, kwargs)
        return super().stream(given, config, stop=stop, **kwargs)

    @override
    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        given, kwargs = self._entered(input, config, kwargs)
        return super().astream(given, config, stop=stop, **kwargs)

    if not TYPE_CHECKING:  # type checkers keep LangChain's overloads

        def stream_events(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002
            """LangChain's events, as from any chat model."""
            given, kwargs = self._entered(input, config, kwargs)
            return super().stream_events(given, config, **kwargs)

        def astream_events(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002
            """LangChain's events, as from any chat model."""
            given, kwargs = self._entered(input, config, kwargs)
            return super().astream_events(given, config, **kwargs)


def with_carried(
    messages: list[BaseMessage], arguments: dict[str, Any], *, anywhere: bool = False
) -> tuple[list[BaseMessage], dict[str, Any]]:
    """Messages without the soft prompt that they carry, and the call's arguments with it; what these say already wins."""
    with in_langchain_family():
        without, carried = take_soft_prompt(messages, anywhere=anywhere)
    return (without, {**carried, **arguments}) if carried else (messages, arguments)
