"""ChatSoftPrompt: what LangChain calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, run_in_executor
from langchain_core.utils.function_calling import convert_to_openai_tool
from typing_extensions import override

from langchain_softprompt.chat_models.answering import Call, Ending, UnderWay
from langchain_softprompt.chat_models.arguments import check_call, check_configurable, refuse_for_now
from langchain_softprompt.chat_models.batching import BatchingChat
from langchain_softprompt.chat_models.binding import SoftPromptBinding
from langchain_softprompt.chat_models.choices import Labels, Normalize, check_choices
from langchain_softprompt.chat_models.choosing import answer, choose_with
from langchain_softprompt.chat_models.errors import in_langchain_family
from langchain_softprompt.errors import RequestError
from langchain_softprompt.messages import encode_text, render_messages


class ChatSoftPrompt(BatchingChat):
    """A chat model that answers with a soft prompt on a frozen model in this process.

    Building one reads no file, loads no weights and touches no network. The frozen model is loaded at the first call,
    once for the whole process, and shared by every `ChatSoftPrompt` that names it; requests with different soft prompts
    are decoded together.

    Instantiate:
        ```python
        from langchain_softprompt import ChatSoftPrompt

        llm = ChatSoftPrompt(model="embedded", soft_prompt="acme/clean-question@v2", max_tokens=64)
        ```

    Choose the soft prompt:
        ```python
        route = llm.with_soft_prompt("acme/bank-router")  # a real chat model that shares the engine
        llm.invoke("Hello", soft_prompt="./my-prompt")  # for one call
        llm.invoke("Hello", soft_prompt=None)  # the bare frozen model
        llm.configurable_fields(soft_prompt=ConfigurableField(id="soft_prompt"))  # by the caller's config
        ```

        What a call says wins over what the model says. A misspelt argument is an error, at construction and per call.

    Invoke, stream, async:
        ```python
        llm.invoke([("system", "Be brief."), ("human", "What is a soft prompt?")])
        for chunk in llm.stream("What is a soft prompt?"):
            print(chunk.text, end="")
        await llm.ainvoke("What is a soft prompt?")
        ```

        Leaving a stream early, or cancelling the task, frees the request's row in the engine.

    Token usage:
        ``usage_metadata["input_tokens"]`` counts the text's tokens and the virtual tokens of the soft prompt, as both
        take room in the model's context; ``input_token_details["cache_read"]`` counts those of both that were
        not read, as the engine had them. The token that ends an answer is not counted.

    Response metadata:
        ``model_name``, ``model_provider``, ``finish_reason`` (``"stop"``, ``"length"`` or ``"stop_sequence"``), and
        ``soft_prompt``, ``soft_prompt_revision``, ``soft_prompt_hash``, ``soft_prompt_type``, ``num_virtual_tokens`` of
        the soft prompt that answered. ``soft_prompt`` is ``None`` when the bare model did.

    Errors:
        This package's own, which are LangChain's too where one fits: `ContextLengthError` is also a
        ``ContextOverflowError``, `ModelMismatchError` a ``ModelInvalidRequestError``, and so on.
    """

    # One call.

    @override
    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        answering = answer(self._call(messages, stop, kwargs))
        return _result(answering.whole(), answering)

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # Loading and tokenising leave the event loop, once a call; the tokens then come without a thread.
        answering = answer(await run_in_executor(None, self._call, messages, stop, kwargs))
        return _result(await answering.awhole(), answering)

    @override
    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        answering = answer(self._call(messages, stop, kwargs))
        with closing(answering.pieces()) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece, response_metadata=answering.fresh_metadata()))
        yield _last_chunk(answering)

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        answering = answer(await run_in_executor(None, self._call, messages, stop, kwargs))
        async with aclosing(answering.apieces()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece, response_metadata=answering.fresh_metadata()))
        yield _last_chunk(answering)

    def _call(self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> Call:
        """Settle everything about a call, and load what it needs."""
        with in_langchain_family():
            check_call(kwargs)
            settings, stop_strings, timeout = self._settings(kwargs), self._stop(stop), self._timeout(kwargs)
            soft_prompt = self._soft_prompt(kwargs)
            engine = self._engine()
            return Call(
                engine=engine,
                token_ids=render_messages(
                    engine.model.tokenizer, messages, drop_default_system=soft_prompt is not None and soft_prompt.drop_default_system
                ),
                soft_prompt=soft_prompt,
                settings=settings,
                stop=stop_strings,
                timeout=timeout,
                allow_other_model=bool(kwargs.get("allow_other_model", self.allow_other_model)),
                choices=check_choices(kwargs["choices"]) if kwargs.get("choices") is not None else None,
            )

    # The soft prompt is settled before the LLM cache is asked, so that what was looked up is what answers.

    @override
    def _generate_with_cache(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        check_call(kwargs)
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
        named = isinstance(kwargs.get("soft_prompt", self.soft_prompt), str | Path)  # only a name has to be loaded
        kwargs["soft_prompt"] = await run_in_executor(None, self._soft_prompt, kwargs) if named else self._soft_prompt(kwargs)
        return await super()._agenerate_with_cache(messages, stop=stop, run_manager=run_manager, **kwargs)

    # A config that names a soft prompt is either followed or refused.

    @override
    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AIMessage:
        check_configurable(config, kwargs, self.soft_prompt)
        return super().invoke(input, config, stop=stop, **kwargs)

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AIMessage:
        check_configurable(config, kwargs, self.soft_prompt)
        return await super().ainvoke(input, config, stop=stop, **kwargs)

    @override
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        check_configurable(config, kwargs, self.soft_prompt)
        return super().stream(input, config, stop=stop, **kwargs)

    @override
    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        check_configurable(config, kwargs, self.soft_prompt)
        return super().astream(input, config, stop=stop, **kwargs)

    if not TYPE_CHECKING:  # type checkers keep LangChain's overloads

        def stream_events(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002
            """LangChain's events, as from any chat model."""
            check_configurable(config, kwargs, self.soft_prompt)
            return super().stream_events(input, config, **kwargs)

        def astream_events(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002
            """LangChain's events, as from any chat model."""
            check_configurable(config, kwargs, self.soft_prompt)
            return super().astream_events(input, config, **kwargs)

    # Composition.

    @override
    def bind(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:  # type: ignore[override]
        """Bind arguments to every call.

        Returns:
            With a soft prompt among them, a real chat model that has it, so that no later step can lose it.
        """
        check_call(kwargs)
        model = self.with_soft_prompt(kwargs.pop("soft_prompt")) if "soft_prompt" in kwargs else self
        return model if model is not self and not kwargs else SoftPromptBinding(bound=model, kwargs=kwargs)

    @override
    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind a config to every call; what is bound after that is not lost either."""
        return SoftPromptBinding(bound=self, config=cast("RunnableConfig", {**(config or {}), **kwargs}))

    @override
    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | Any], *, tool_choice: str | None = None, **kwargs: Any
    ) -> NoReturn:
        """Not in this release.

        Raises:
            NotYetSupportedError: Always.
        """
        refuse_for_now("Tool calling (bind_tools)")

    @override
    def with_structured_output(self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any) -> NoReturn:
        """Not in this release.

        Raises:
            NotYetSupportedError: Always.
        """
        refuse_for_now("Structured output (with_structured_output)")

    def with_choices(
        self, labels: Labels, *, normalize: Normalize = "sum", include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Answer with one of some labels, all of them scored by the model.

        Nothing is sampled: the prompt is read once, every label is read after it, and the likeliest wins. Temperature,
        penalty, filters, ``max_tokens``, stop strings and ``logprobs`` have no part in it.

        Args:
            labels: Texts; or a dictionary from label to the text that it is written as; or an `Enum` class, whose values are the
                texts; or a `Literal`.
            normalize: What labels are compared by: ``"sum"``, the log-probability of the whole label, or ``"mean"``, that of
                a token in the mean, which does not favour short labels.
            include_raw: Hand out ``{"raw": AIMessage, "parsed": ChoiceResult, "parsing_error": None}``.
            kwargs: Further arguments of each call, for instance ``soft_prompt``.

        Returns:
            A chain from chat input to a `ChoiceResult`.

        Raises:
            InvalidSettingsError: There are no labels, one is empty, or two are the same. In a call: two are the same tokens.
        """
        return choose_with(self, labels, normalize=normalize, include_raw=include_raw, **kwargs)

    # Counting.

    @override
    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text; loads the model."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        with in_langchain_family():
            return encode_text(self._engine().model.tokenizer, text)

    @override
    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """What these messages take of the model's context: the chat template and the virtual tokens are counted in."""
        soft_prompt = self._soft_prompt({})
        virtual_tokens = soft_prompt.num_virtual_tokens if soft_prompt is not None else 0
        if not messages:
            return virtual_tokens
        with in_langchain_family():
            rendered = render_messages(
                self._engine().model.tokenizer,
                messages,
                drop_default_system=soft_prompt is not None and soft_prompt.drop_default_system,
                tools=[convert_to_openai_tool(tool) for tool in tools or ()],
            )
        return virtual_tokens + len(rendered)


def _ending(answering: UnderWay) -> Ending:
    if answering.ending is None:
        msg = "The answer was read to its end without an ending."
        raise RequestError(msg)
    return answering.ending


def _result(text: str, answering: UnderWay) -> ChatResult:
    ending = _ending(answering)
    message = AIMessage(content=text, usage_metadata=ending.usage, response_metadata=ending.metadata)
    return ChatResult(generations=[ChatGeneration(message=message)])


def _last_chunk(answering: UnderWay) -> ChatGenerationChunk:
    # Usage and metadata belong on one chunk: strings in them would be joined when chunks are added up.
    ending = _ending(answering)
    message = AIMessageChunk(content="", usage_metadata=ending.usage, response_metadata=ending.metadata, chunk_position="last")
    return ChatGenerationChunk(message=message)
