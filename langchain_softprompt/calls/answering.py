"""One request, from its submission to its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from langchain_softprompt.calls.errors import RequestTimeoutError, in_langchain_family
from langchain_softprompt.calls.leaving import watch
from langchain_softprompt.chats import ToolUse
from langchain_softprompt.errors import RequestCancelledError, RequestError
from langchain_softprompt.messages import TextStream, TokenBytes, logprob_entry, response_metadata, usage_metadata
from langchain_softprompt.tool_calls import ToolFormat, format_of_template

if TYPE_CHECKING:
    from langchain_core.messages.ai import UsageMetadata

    from langchain_softprompt.calls.ports import EnginePort, HandlePort, ResultPort
    from langchain_softprompt.sampling import Constraint
    from langchain_softprompt.settings import GenerationSettings
    from langchain_softprompt.soft_prompt import SoftPrompt


@dataclass(frozen=True, slots=True)
class Call:
    """All that one call has settled on."""

    engine: EnginePort
    token_ids: list[int]
    soft_prompt: SoftPrompt | None
    settings: GenerationSettings
    stop: tuple[str, ...]
    timeout: float | None
    allow_other_model: bool
    constraint: Constraint | None = None
    visible: frozenset[int] = frozenset()
    use: ToolUse = field(default_factory=ToolUse)
    tool_format: ToolFormat = field(default_factory=lambda: format_of_template(None))
    reasoning_begun: bool | None = None
    """Whether the prompt opened the answer's reasoning; ``None`` where reasoning is text."""
    check: Callable[[str, str | None], None] | None = None
    """Refuses an answer, given its text and why it ended."""
    choices: tuple[list[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """What is told with the end of an answer."""

    usage: UsageMetadata
    metadata: dict[str, Any]


class _Alarm(Protocol):
    def cancel(self) -> object: ...


class UnderWay:
    """A call under way: it has a time limit, and an ending.

    Attributes:
        call: What was asked.
    """

    def __init__(self, call: Call, handle: HandlePort) -> None:
        self.call = call
        self._handle = handle
        self._late = False
        self._ending: Ending | None = None
        watch(handle)

    @property
    def ending(self) -> Ending:
        """What is told with the answer's end.

        Raises:
            RequestError: There is none yet.
        """
        if self._ending is None:
            msg = "The answer was read to its end without an ending."
            raise RequestError(msg)
        return self._ending

    def give_up(self) -> None:
        """Cancel the request; nothing happens when it has ended."""
        self._handle.cancel()

    def fresh_metadata(self) -> dict[str, Any]:
        """What there is to say about the text that was handed out since this was last asked."""
        return {}

    def _end(self, cached_tokens: int, output_tokens: int, finish_reason: str, more: dict[str, Any]) -> None:
        call = self.call
        self._ending = Ending(
            usage_metadata(
                prompt_tokens=len(call.token_ids),
                virtual_tokens=call.soft_prompt.num_virtual_tokens if call.soft_prompt else 0,
                cached_tokens=cached_tokens,
                output_tokens=output_tokens,
            ),
            {
                **response_metadata(
                    model_name=call.engine.model.name,
                    model_revision=call.engine.model.revision,
                    finish_reason=finish_reason,
                    soft_prompt=call.soft_prompt,
                ),
                **more,
            },
        )

    def _cancelled(self) -> Exception:
        if self._late:
            msg = f"The answer was not finished within {self.call.timeout} seconds. Raise timeout, or lower max_tokens."
            return RequestTimeoutError(msg)
        return RequestCancelledError(
            "The request was cancelled before its answer was finished, for instance because its engine was closed."
        )

    @contextmanager
    def _under_way(self, set_alarm: Callable[[float, Callable[[], None]], _Alarm]) -> Iterator[None]:
        alarm = set_alarm(self.call.timeout, self._expire) if self.call.timeout is not None else None
        try:
            with in_langchain_family():
                yield
        finally:
            if alarm is not None:
                alarm.cancel()
            self._handle.cancel()  # Nothing happens when it has ended; else nobody reads on.

    def _expire(self) -> None:
        self._late = True
        self._handle.cancel()


class Answering(UnderWay):
    """A call whose answer is generated. Leaving `pieces` or `apieces` early cancels the request."""

    def __init__(self, call: Call) -> None:
        self._text = TextStream(call.engine.model.tokenizer, call.stop, call.visible)
        self._tokens = 0
        self._said: list[str] = []
        self._bytes = TokenBytes(call.engine.model.tokenizer) if call.settings.top_logprobs is not None else None
        self._logprobs: list[dict[str, Any]] = []  # of tokens whose text was not handed out yet
        with in_langchain_family():
            self._generation = call.engine.submit(
                call.token_ids,
                soft_prompt=call.soft_prompt,
                settings=call.settings,
                allow_other_model=call.allow_other_model,
                constraint=call.constraint,
            )
        super().__init__(call, self._generation)

    def pieces(self) -> Iterator[str]:
        """The answer's text, piece by piece."""
        with self._under_way(thread_alarm):
            for token in self._generation:
                if piece := self._take(token):
                    yield piece
                if self._text.stopped_by is not None:
                    self._generation.cancel()
                    break
            if rest := self._finish(self._generation.result()):
                yield rest

    async def apieces(self) -> AsyncIterator[str]:
        """The same in an event loop, without a thread."""
        with self._under_way(loop_alarm):
            async for token in self._generation:
                if piece := self._take(token):
                    yield piece
                if self._text.stopped_by is not None:
                    self._generation.cancel()
                    break
            if rest := self._finish(await self._generation.wait()):
                yield rest

    def whole(self) -> str:
        """The whole text. Without stop strings nobody needs to look at it before its end."""
        if self.call.stop:
            return "".join(self.pieces())
        with self._under_way(thread_alarm):
            return self._take_all(self._generation.result())

    async def awhole(self) -> str:
        """The same in an event loop."""
        if self.call.stop:
            return "".join([piece async for piece in self.apieces()])
        with self._under_way(loop_alarm):
            return self._take_all(await self._generation.wait())

    def fresh_metadata(self) -> dict[str, Any]:
        """Log-probabilities of the tokens behind the text that was handed out since this was last asked, if they are wanted."""
        fresh, self._logprobs = self._logprobs, []
        return {"logprobs": {"content": fresh}} if fresh else {}

    def _take(self, *token_ids: int) -> str:
        if self._bytes is not None:
            for position, token in enumerate(token_ids, start=self._tokens):
                logprob = self._generation.logprob(position)
                if logprob is not None:
                    self._logprobs.append(logprob_entry(self._bytes, token, logprob))
        self._tokens += len(token_ids)
        self._said.append(self._text.push(token_ids))
        return self._said[-1]

    def _take_all(self, result: ResultPort) -> str:
        return self._take(*result.token_ids) + self._finish(result)

    def _finish(self, result: ResultPort) -> str:
        rest = self._text.finish()
        stopped = self._text.stopped_by is not None
        if result.finish_reason == "cancelled" and not stopped:
            raise self._cancelled()
        reason = "stop_sequence" if stopped else result.finish_reason
        if self.call.check is not None:
            self.call.check("".join([*self._said, rest]), reason)
        self._end(result.cached_tokens, self._tokens, reason, self.fresh_metadata())
        return rest


def thread_alarm(seconds: float, ring: Callable[[], None]) -> _Alarm:
    """Ring in a thread of its own."""
    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    return timer


def loop_alarm(seconds: float, ring: Callable[[], None]) -> _Alarm:
    """Ring in the running event loop."""
    return asyncio.get_running_loop().call_later(seconds, ring)
