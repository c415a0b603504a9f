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
from typing_extensions import override

from langchain_softprompt.calls.answering import Answering, Call, Ending
from langchain_softprompt.calls.arguments import check_call, check_configurable
from langchain_softprompt.calls.batching import Batching
from langchain_softprompt.calls.errors import in_langchain_family
from langchain_softprompt.calls.response_format import read_response_format, with_instruction
from langchain_softprompt.chat_models.binding import SoftPromptBinding
from langchain_softprompt.chat_models.holding import held_to
from langchain_softprompt.chat_models.naming import NamedChat
from langchain_softprompt.chat_models.speaking import Speech
from langchain_softprompt.chat_models.structured import structured_output
from langchain_softprompt.chat_models.tool_calling import openai_tools, tool_use, visible_ids
from langchain_softprompt.errors import RequestError
from langchain_softprompt.messages import ToolUse, encode_text, render_messages, take_soft_prompt
from langchain_softprompt.tool_calls import ToolFormat, find_format


class ChatSoftPrompt(Batching, NamedChat):
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

        A prompt template can carry its soft prompt, as a content block in its first message:
        ``{"type": "soft_prompt", "soft_prompt": "acme/clean-question"}``. What a call says wins over what the messages
        say, and that over what the model says. A misspelt argument is an error, at construction and per call.

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
        speech = _speech(answering)
        with closing(answering.pieces()) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                for chunk in speech.push(piece):
                    yield ChatGenerationChunk(message=chunk)
        for chunk in speech.finish():
            yield ChatGenerationChunk(message=chunk)
        yield _last_chunk(answering, speech)

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        answering = Answering(await run_in_executor(None, self._call, messages, stop, kwargs))
        speech = _speech(answering)
        async with aclosing(answering.apieces()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                for chunk in speech.push(piece):
                    yield ChatGenerationChunk(message=chunk)
        for chunk in speech.finish():
            yield ChatGenerationChunk(message=chunk)
        yield _last_chunk(answering, speech)

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
            tokenizer, tool_format, use = engine.model.tokenizer, self._format(), tool_use(kwargs)
            return Call(
                engine=engine,
                token_ids=render_messages(
                    tokenizer,
                    messages,
                    drop_default_system=soft_prompt is not None and soft_prompt.drop_default_system,
                    use=use,
                    tool_format=tool_format,
                ),
                soft_prompt=soft_prompt,
                settings=settings,
                stop=stop_strings,
                timeout=timeout,
                allow_other_model=bool(kwargs.get("allow_other_model", self.allow_other_model)),
                **held_to(tokenizer, use, tool_format, held, allow_invalid=bool(kwargs.get("allow_invalid"))),
                visible=visible_ids(tokenizer, tool_format) if use.tools else frozenset(),
                use=use,
                tool_format=tool_format,
            )

    def _format(self) -> ToolFormat:
        """How the model writes tool calls; loads the model."""
        with in_langchain_family():
            return find_format(self.tool_format, getattr(self._engine().model.tokenizer, "chat_template", None))

    # The soft prompt is settled before the LLM cache is asked, so that what was looked up is what answers.

    @override
    def _generate_with_cache(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        check_call(kwargs)
        messages, kwargs = _with_carried(messages, kwargs)
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
        messages, kwargs = _with_carried(messages, kwargs)
        named = isinstance(kwargs.get("soft_prompt", self.soft_prompt), str | Path)  # only a name has to be loaded
        kwargs["soft_prompt"] = await run_in_executor(None, self._soft_prompt, kwargs) if named else self._soft_prompt(kwargs)
        return await super()._agenerate_with_cache(messages, stop=stop, run_manager=run_manager, **kwargs)

    # A soft prompt that the messages carry becomes an argument of the call, so that caches and traces know it from the
    # start. A config that names one is either followed or refused.

    def _entered(self, given: Any, config: RunnableConfig | None, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        messages = self._convert_input(given).to_messages()
        without, settled = _with_carried(messages, arguments)
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
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | Any],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        parallel_tool_calls: bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools in every call.

        Args:
            tools: Functions, LangChain tools, Pydantic classes, TypedDicts or JSON schemas.
            tool_choice: ``"auto"`` or ``None``: the model decides. ``"any"``, ``"required"`` or ``True``: it has to call one.
                A tool's name, or a dictionary with it: that one. ``"none"``: none is offered. Whatever has to be called is
                held to the tools' schemas by a grammar, for which the extra ``structured`` is needed.
            parallel_tool_calls: ``False`` for one call at most.
            strict: Passed on to the schemas. An answer that has to be a call always follows them.
            **kwargs: Bound to every call.

        Raises:
            InvalidSettingsError: A tool can't be described to a model, or the choice names none of them.
        """
        with in_langchain_family():
            offered = openai_tools(tools, strict=strict)
            ToolUse.of(offered, tool_choice, parallel=parallel_tool_calls)
        bound = {"tools": offered, "tool_choice": tool_choice, "parallel_tool_calls": parallel_tool_calls}
        return self.bind(**{name: value for name, value in bound.items() if value is not None}, **kwargs)

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
        messages, carried = _with_carried(messages, {})
        soft_prompt = self._soft_prompt(carried)
        virtual_tokens = soft_prompt.num_virtual_tokens if soft_prompt is not None else 0
        if not messages:
            return virtual_tokens
        with in_langchain_family():
            rendered = render_messages(
                self._engine().model.tokenizer,
                messages,
                drop_default_system=soft_prompt is not None and soft_prompt.drop_default_system,
                use=ToolUse.of(openai_tools(tools or ())),
                tool_format=self._format(),
            )
        return virtual_tokens + len(rendered)


def _with_carried(messages: list[BaseMessage], arguments: dict[str, Any]) -> tuple[list[BaseMessage], dict[str, Any]]:
    """Messages without the soft prompt that they carry, and the call's arguments with it; what these say already wins."""
    with in_langchain_family():
        without, carried = take_soft_prompt(messages)
    return (without, {**carried, **arguments}) if carried else (messages, arguments)


def _ending(answering: Answering) -> Ending:
    if answering.ending is None:
        msg = "The answer was read to its end without an ending."
        raise RequestError(msg)
    return answering.ending


def _result(text: str, answering: Answering) -> ChatResult:
    ending, speech = _ending(answering), _speech(answering)
    said = speech.whole(text)
    message = AIMessage(**said, usage_metadata=ending.usage, response_metadata=_metadata(ending, speech))
    return ChatResult(generations=[ChatGeneration(message=message)])


def _speech(answering: Answering) -> Speech:
    return Speech(answering.call.use, answering.call.tool_format)


def _metadata(ending: Ending, speech: Speech) -> dict[str, Any]:
    return {**ending.metadata, "finish_reason": "tool_calls"} if speech.called else ending.metadata


def _last_chunk(answering: Answering, speech: Speech) -> ChatGenerationChunk:
    # Usage and metadata belong on one chunk: strings in them would be joined when chunks are added up.
    ending = _ending(answering)
    message = AIMessageChunk(content="", usage_metadata=ending.usage, response_metadata=_metadata(ending, speech), chunk_position="last")
    return ChatGenerationChunk(message=message)
