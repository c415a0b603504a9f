"""SoftPromptLLM: a base model that continues text, with a soft prompt. For models that chat there is `ChatSoftPrompt`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, Self, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models.base import LangSmithParams, LanguageModelInput
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import BaseMessage, get_buffer_string
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import Runnable, RunnableConfig, run_in_executor
from pydantic import PrivateAttr
from typing_extensions import override

from langchain_softprompt.calls.answering import Answering, Call
from langchain_softprompt.calls.arguments import SETTING_NAMES, check_configurable, check_known, with_full_names
from langchain_softprompt.calls.batching import Batching
from langchain_softprompt.calls.errors import UnknownArgumentError, in_langchain_family
from langchain_softprompt.messages import encode_text, take_soft_prompt

_OF_A_CALL = {*SETTING_NAMES, "max_new_tokens", "soft_prompt", "allow_other_model", "timeout", "logprobs", "top_logprobs"}
_FROM_LANGCHAIN = {"tags", "metadata", "run_name", "run_id"}


class SoftPromptLLM(Batching, BaseLLM):
    """A completion model that answers with a soft prompt on a frozen base model in this process.

    Text goes in as it is, without a chat template, and what the model continues it with comes out. Fields, soft-prompt
    choices, errors and the engine are those of `ChatSoftPrompt`; the two share one frozen model where they name the same.

    Instantiate::

        from langchain_softprompt import SoftPromptLLM

        llm = SoftPromptLLM(model="HuggingFaceTB/SmolLM2-135M", soft_prompt="acme/french", max_tokens=32)

    Choose the soft prompt::

        llm.with_soft_prompt("acme/german")  # a model of its own that shares the engine
        llm.invoke("The sea is", soft_prompt=None)  # for one call; None is the bare model

    Metadata:
        The ``generation_info`` of each generation holds what `ChatSoftPrompt` puts into ``response_metadata``, and
        ``usage_metadata``; ``llm_output`` holds the sums as ``token_usage``.
    """

    _weights: str | None = PrivateAttr(default=None)

    @property
    @override
    def _llm_type(self) -> str:
        return "softprompt"

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        named = self._named(None, {}, self._soft_prompt_at_hand({}))
        return named if self._weights is None else {**named, "fingerprint": self._weights}

    # A call's own arguments become fields of a copy that answers it: LangChain's cache for completion models asks the
    # model who it is, and never looks at arguments.

    def _for_call(self, stop: list[str] | None, arguments: Mapping[str, Any]) -> Self:
        """The model that this call asks for, its soft prompt loaded."""
        with in_langchain_family():
            if "model" in arguments or "model_name" in arguments:
                msg = "The frozen model can't be chosen per call, as SoftPromptLLM serves one. Make a second SoftPromptLLM(model=...)."
                raise UnknownArgumentError(msg)
            check_known(arguments, _OF_A_CALL | {"stop"}, "A call of SoftPromptLLM")
            given = with_full_names({name: value for name, value in arguments.items() if value is not None})
            if given.get("logprobs") is False:
                given.setdefault("top_logprobs", None)  # the call's word against the field's
            settled = {**given, "soft_prompt": self._soft_prompt(arguments), "stop": list(self._stop(stop)) or None}
            called = self.model_copy(update=settled)
            if self.cache is not False and (self.cache is not None or get_llm_cache() is not None):
                called._weights = self._model_identity()  # noqa: SLF001 - one of us
            return called

    def _entered(self, given: Any, config: RunnableConfig | None, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The input without a soft prompt that its messages carry, and the call's arguments with it."""
        prompt = self._convert_input(given)
        with in_langchain_family():
            messages, carried = take_soft_prompt(prompt.messages) if isinstance(prompt, ChatPromptValue) else ([], {})
        settled = {**carried, **arguments}
        check_configurable(config, arguments, settled.get("soft_prompt", self.soft_prompt))
        return (ChatPromptValue(messages=cast("Any", messages)) if carried else prompt), settled

    @override
    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> str:
        prompt, arguments = self._entered(input, config, kwargs)
        return super().invoke(prompt, config, stop=stop, **arguments)

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> str:
        prompt, arguments = self._entered(input, config, kwargs)
        return await super().ainvoke(prompt, config, stop=stop, **arguments)

    @override
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> Iterator[str]:
        prompt, arguments = self._entered(input, config, kwargs)
        called = self._for_call(stop, arguments)
        return super(SoftPromptLLM, called).stream(prompt, config, stop=called.stop)

    @override
    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AsyncIterator[str]:
        prompt, arguments = self._entered(input, config, kwargs)
        called = await run_in_executor(None, self._for_call, stop, arguments)
        async with aclosing(super(SoftPromptLLM, called).astream(prompt, config, stop=called.stop)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield piece

    @override
    def generate(self, prompts: list[str], stop: list[str] | None = None, callbacks: Any = None, **kwargs: Any) -> LLMResult:
        called = self._for_call(stop, {name: value for name, value in kwargs.items() if name not in _FROM_LANGCHAIN})
        rest = {name: value for name, value in kwargs.items() if name in _FROM_LANGCHAIN}
        return super(SoftPromptLLM, called).generate(prompts, called.stop, callbacks, **rest)

    @override
    async def agenerate(self, prompts: list[str], stop: list[str] | None = None, callbacks: Any = None, **kwargs: Any) -> LLMResult:
        arguments = {name: value for name, value in kwargs.items() if name not in _FROM_LANGCHAIN}
        called = await run_in_executor(None, self._for_call, stop, arguments)
        rest = {name: value for name, value in kwargs.items() if name in _FROM_LANGCHAIN}
        return await super(SoftPromptLLM, called).agenerate(prompts, called.stop, callbacks, **rest)

    # The call itself; by now all that it asks for is in the fields.

    @override
    def _generate(
        self, prompts: list[str], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> LLMResult:
        calls = [self._call(prompt, stop) for prompt in prompts]
        done: list[Generation] = []
        for start in range(0, len(calls), most := self._at_once()):
            under_way: list[Answering] = []
            try:
                under_way += [Answering(call) for call in calls[start : start + most]]
                done += [_generation(answering.whole(), answering) for answering in under_way]
            finally:
                for answering in under_way:
                    answering.give_up()
        return self._result(done)

    @override
    async def _agenerate(
        self, prompts: list[str], stop: list[str] | None = None, run_manager: AsyncCallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> LLMResult:
        calls = await run_in_executor(None, lambda: [self._call(prompt, stop) for prompt in prompts])
        done: list[Generation] = []
        for start in range(0, len(calls), most := self._at_once()):
            tasks = [asyncio.ensure_future(_answer(call)) for call in calls[start : start + most]]
            try:
                done += await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
        return self._result(done)

    @override
    def _stream(
        self, prompt: str, stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        answering = Answering(self._call(prompt, stop))
        with closing(answering.pieces()) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                chunk = GenerationChunk(text=piece)
                if run_manager is not None:
                    run_manager.on_llm_new_token(piece, chunk=chunk)
                yield chunk
        yield GenerationChunk(text="", generation_info=_info(answering))

    @override
    async def _astream(
        self, prompt: str, stop: list[str] | None = None, run_manager: AsyncCallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> AsyncIterator[GenerationChunk]:
        answering = Answering(await run_in_executor(None, self._call, prompt, stop))
        async with aclosing(answering.apieces()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                chunk = GenerationChunk(text=piece)
                if run_manager is not None:
                    await run_manager.on_llm_new_token(piece, chunk=chunk)
                yield chunk
        yield GenerationChunk(text="", generation_info=_info(answering))

    def _at_once(self) -> int:
        """How many prompts of one call are under way together: some wait while others decode, and the queue holds them."""
        limits = self._limits()
        return limits.max_rows + min(limits.max_rows, limits.max_queue)

    def _call(self, prompt: str, stop: list[str] | None) -> Call:
        with in_langchain_family():
            engine = self._engine()
            return Call(
                engine=engine,
                token_ids=encode_text(engine.model.tokenizer, prompt, special_tokens=True),
                soft_prompt=self._soft_prompt({}),
                settings=self._settings({}),
                stop=self._stop(stop),
                timeout=self.timeout,
                allow_other_model=self.allow_other_model,
            )

    def _result(self, generations: Sequence[Generation]) -> LLMResult:
        usages = [(generation.generation_info or {})["usage_metadata"] for generation in generations]
        sums = {ours: sum(usage[theirs] for usage in usages) for ours, theirs in _SUMS.items()}
        output = {"token_usage": sums, "model_name": self.model_name}
        return LLMResult(generations=[[generation] for generation in generations], llm_output=output)

    # What it says of itself, composition, counting.

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        named = {**self._identifying_params, "stop": stop}
        return cast("LangSmithParams", self._traced("llm", named, kwargs.get("model")))

    @override
    def bind(self, **kwargs: Any) -> Runnable[LanguageModelInput, str]:
        """Bind arguments to every call; a soft prompt among them becomes part of the model."""
        check_known(kwargs, _OF_A_CALL | {"stop"}, "A call of SoftPromptLLM")
        model = self.with_soft_prompt(kwargs.pop("soft_prompt")) if "soft_prompt" in kwargs else self
        return super(SoftPromptLLM, model).bind(**kwargs) if kwargs else model

    @override
    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """What these messages take of the model's context, put into one text as LangChain does, virtual tokens counted in."""
        with in_langchain_family():
            rest, carried = take_soft_prompt(messages)
        soft_prompt = self._soft_prompt(carried)
        virtual_tokens = soft_prompt.num_virtual_tokens if soft_prompt is not None else 0
        if not rest:
            return virtual_tokens
        with in_langchain_family():
            return virtual_tokens + len(encode_text(self._engine().model.tokenizer, get_buffer_string(rest), special_tokens=True))


_SUMS = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "total_tokens": "total_tokens"}


async def _answer(call: Call) -> Generation:
    answering = Answering(call)
    return _generation(await answering.awhole(), answering)


def _generation(text: str, answering: Answering) -> Generation:
    return Generation(text=text, generation_info=_info(answering))


def _info(answering: Answering) -> dict[str, Any]:
    return {**answering.ending.metadata, "usage_metadata": answering.ending.usage}
