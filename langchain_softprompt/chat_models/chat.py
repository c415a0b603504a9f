"""ChatSoftPrompt: what LangChain calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import run_in_executor
from typing_extensions import override

from langchain_softprompt.calls.answering import Call
from langchain_softprompt.calls.arguments import check_call
from langchain_softprompt.calls.batching import Batching
from langchain_softprompt.calls.errors import in_langchain_family
from langchain_softprompt.calls.response_format import read_response_format
from langchain_softprompt.chat_models.choices import check_choices
from langchain_softprompt.chat_models.choosing import answer
from langchain_softprompt.chat_models.entering import EnteredChat, with_carried
from langchain_softprompt.chat_models.holding import held_to
from langchain_softprompt.chat_models.speaking import chunk_of, last_chunk_of, result_of, speech_of
from langchain_softprompt.chat_models.tool_calling import openai_tools, tool_use, visible_ids
from langchain_softprompt.chats import ToolUse, shows_format
from langchain_softprompt.messages import reasoning_begun, render_messages
from langchain_softprompt.tool_calls import find_format


class ChatSoftPrompt(Batching, EnteredChat):
    """A chat model that answers with a soft prompt on a frozen model in this process.

    Building one reads no file, loads no weights and touches no network. The frozen model is loaded at the first call,
    once for the whole process, and shared by every `ChatSoftPrompt` that names it; requests with different soft prompts
    are decoded together.

    Instantiate::

        from langchain_softprompt import ChatSoftPrompt

        llm = ChatSoftPrompt(model="embedded", soft_prompt="acme/clean-question@v2", max_tokens=64)

    Choose the soft prompt::

        route = llm.with_soft_prompt("acme/bank-router")  # a real chat model that shares the engine
        llm.invoke("Hello", soft_prompt="./my-prompt")  # for one call
        llm.invoke("Hello", soft_prompt=None)  # the bare frozen model
        llm.configurable_fields(soft_prompt=ConfigurableField(id="soft_prompt"))  # by the caller's config

    A prompt template can carry its soft prompt, as a content block in its first message:
    ``{"type": "soft_prompt", "soft_prompt": "acme/clean-question"}``. What a call says wins over what the messages say, and
    that over what the model says. A misspelt argument is an error, at construction and per call.

    Invoke, stream, async::

        llm.invoke([("system", "Be brief."), ("human", "What is a soft prompt?")])
        for chunk in llm.stream("What is a soft prompt?"):
            print(chunk.text, end="")
        await llm.ainvoke("What is a soft prompt?")

    Leaving a stream early, or cancelling the task, frees the request's row in the engine.

    Tools and structured output::

        llm.bind_tools([search]).invoke("Where is my card?").tool_calls
        llm.with_structured_output(Ticket).invoke("My card was charged twice.")  # a Pydantic class, or any other schema
        llm.invoke("Hello", response_format={"type": "json_object"})

    Calls that have to be made, and structured answers, are held to their schemas token by token (extra ``structured``).

    Token usage:
        ``usage_metadata["input_tokens"]`` counts the text's tokens and the virtual tokens of the soft prompt, as both
        take room in the model's context; ``input_token_details["cache_read"]`` counts those of both that were
        not read, as the engine had them. The token that ends an answer is not counted.

    Response metadata:
        ``model_name``, ``model_provider``, ``finish_reason`` (``"stop"``, ``"length"``, ``"stop_sequence"`` or
        ``"tool_calls"``), and ``soft_prompt``, ``soft_prompt_revision``, ``soft_prompt_hash``, ``soft_prompt_type``,
        ``num_virtual_tokens`` of the soft prompt that answered. ``soft_prompt`` is ``None`` when the bare model did.

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
        return result_of(answering.whole(), answering)

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
        return result_of(await answering.awhole(), answering)

    @override
    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        answering = answer(self._call(messages, stop, kwargs))
        speech = speech_of(answering)
        with closing(answering.pieces()) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                for chunk in speech.push(piece):
                    yield chunk_of(chunk, answering)
        for chunk in speech.finish():
            yield chunk_of(chunk, answering)
        yield last_chunk_of(answering, speech)

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        answering = answer(await run_in_executor(None, self._call, messages, stop, kwargs))
        speech = speech_of(answering)
        async with aclosing(answering.apieces()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                for chunk in speech.push(piece):
                    yield chunk_of(chunk, answering)
        for chunk in speech.finish():
            yield chunk_of(chunk, answering)
        yield last_chunk_of(answering, speech)

    def _call(self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> Call:
        """Settle everything about a call, and load what it needs."""
        with in_langchain_family():
            check_call(kwargs)
            held = read_response_format(kwargs.get("response_format"))
            settings, stop_strings, timeout = self._settings(kwargs), self._stop(stop), self._timeout(kwargs)
            soft_prompt = self._soft_prompt(kwargs)
            engine = self._engine()
            tokenizer, use = self._tokenizer(), tool_use(kwargs)
            tool_format = find_format(self.tool_format, getattr(tokenizer, "chat_template", None))
            token_ids = render_messages(
                tokenizer,
                messages,
                drop_default_system=soft_prompt is not None and soft_prompt.drop_default_system,
                use=use,
                tool_format=tool_format,
                words=held.instruction if held is not None and shows_format(kwargs.get("show_schema"), use) else None,
            )
            begun = reasoning_begun(tokenizer, token_ids, self.reasoning)
            return Call(
                engine=engine,
                token_ids=token_ids,
                soft_prompt=soft_prompt,
                settings=settings,
                stop=stop_strings,
                timeout=timeout,
                allow_other_model=bool(kwargs.get("allow_other_model", self.allow_other_model)),
                # By the model's own tokenizer, for which grammars are kept.
                **held_to(engine.model.tokenizer, use, tool_format, held, allow_invalid=bool(kwargs.get("allow_invalid"))),
                visible=visible_ids(tokenizer, tool_format if use.tools else None, reasoning=begun is not None),
                use=use,
                tool_format=tool_format,
                reasoning_begun=begun,
                choices=check_choices(kwargs["choices"]) if kwargs.get("choices") is not None else None,
            )

    def _tokenizer(self) -> Any:
        """The model's tokenizer, with this model's chat template; loads the model."""
        from langchain_softprompt.frozen_model import with_chat_template  # brings in torch

        return with_chat_template(self._engine().model.tokenizer, self.chat_template)

    # Counting.

    @override
    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """What these messages take of the model's context: the chat template and the virtual tokens are counted in."""
        messages, carried = with_carried(messages, {}, anywhere=True)  # `trim_messages` counts parts of a chat, last message first
        soft_prompt = self._soft_prompt(carried)
        virtual_tokens = soft_prompt.num_virtual_tokens if soft_prompt is not None else 0
        if not messages:
            return virtual_tokens
        with in_langchain_family():
            rendered = render_messages(
                self._tokenizer(),
                messages,
                drop_default_system=soft_prompt is not None and soft_prompt.drop_default_system,
                use=ToolUse.of(openai_tools(tools or ())),
                tool_format=self.tool_format,
            )
        return virtual_tokens + len(rendered)
