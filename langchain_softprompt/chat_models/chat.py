"""ChatSoftPrompt: what LangChain calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, run_in_executor
from langchain_core.utils.function_calling import convert_to_openai_tool
from typing_extensions import override

from langchain_softprompt.chat_models.answering import Answering, Call, Ending
from langchain_softprompt.chat_models.arguments import check_call, check_configurable, refuse_for_now
from langchain_softprompt.chat_models.batching import BatchingChat
from langchain_softprompt.chat_models.binding import SoftPromptBinding
from langchain_softprompt.chat_models.errors import in_langchain_family
from langchain_softprompt.chat_models.response_format import read_response_format, with_instruction
from langchain_softprompt.chat_models.structured import structured_output
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

    Structured output:
        ```python
        llm.with_structured_output(Ticket).invoke("My card was charged twice.")  # a Pydantic class, or any other schema
        llm.invoke("Hello", response_format={"type": "json_object"})
        ```

        Answers are held to the schema token by token (extra ``structured``). The prompt stays as it is, unless you say
        ``show_schema=True``.

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
        answering = Answering(self._call(messages, stop, kwargs))
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
        answering = Answering(await run_in_executor(None, self._call, messages, stop, kwargs))
        return _result(await answering.awhole(), answering)

    @override
    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        answering = Answering(self._call(messages, stop, kwargs))
        with closing(answering.pieces()) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        yield _last_chunk(answering)

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        answering = Answering(await run_in_executor(None, self._call, messages, stop, kwargs))
        async with aclosing(answering.apieces()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        yield _last_chunk(answering)

    def _call(self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> Call:
        """Settle everything about a call, and load what it needs."""
        with in_langchain_family():
            check_call(kwargs)
            held = read_response_format(kwargs.get("response_format"))
            settings, stop_strings, timeout = self._settings(kwargs), self._stop(stop), self._timeout(kwargs)
            soft_prompt = self._soft_prompt(kwargs)
            if held is not None and kwargs.get("show_schema"):
                messages = with_instruction(messages, held)
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
                constraint=held.constraint(engine.model.tokenizer) if held is not None else None,
                check=held.check if held is not None and not kwargs.get("allow_invalid") else None,
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
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Not in this release, but for no tools at all, which is `bind`.

        Raises:
            NotYetSupportedError: There are tools.
        """
        if tools or tool_choice:
            refuse_for_now("Tool calling (bind_tools)")
        return self.bind(**kwargs)

    @override
    def with_structured_output(
        self,
        schema: Any,
        *,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Hold answers to a schema, token by token, and read them. Needs the extra ``structured``.

        Args:
            schema: A Pydantic class, a ``TypedDict`` class, a JSON schema, an ``Enum`` class, a ``Literal``, or a compiled
                regular expression, which the whole answer then matches. ``None`` for any JSON object, with ``json_mode``.
            method: Taken as other models take it; all three hold answers to the schema.
            include_raw: Give ``raw``, ``parsed`` and ``parsing_error`` in place of the value, and raise nothing for an answer
                that can't be read.
            strict: False lets objects hold more than they declare, where the schema allows it.
            **kwargs: More arguments for each call, for instance ``show_schema``.

        Returns:
            A Runnable that gives the value, or raises `AnswerFormatError` where the token limit cut the answer.

        Raises:
            InvalidGrammarError: Answers can't be held to the schema; the message names the part at fault.
            MissingExtraError: llguidance or jsonschema is not installed.
        """
        return structured_output(self, schema, method=method, include_raw=include_raw, strict=strict, **kwargs)

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


def _ending(answering: Answering) -> Ending:
    if answering.ending is None:
        msg = "The answer was read to its end without an ending."
        raise RequestError(msg)
    return answering.ending


def _result(text: str, answering: Answering) -> ChatResult:
    ending = _ending(answering)
    message = AIMessage(content=text, usage_metadata=ending.usage, response_metadata=ending.metadata)
    return ChatResult(generations=[ChatGeneration(message=message)])


def _last_chunk(answering: Answering) -> ChatGenerationChunk:
    # Usage and metadata belong on one chunk: strings in them would be joined when chunks are added up.
    ending = _ending(answering)
    message = AIMessageChunk(content="", usage_metadata=ending.usage, response_metadata=ending.metadata, chunk_position="last")
    return ChatGenerationChunk(message=message)
