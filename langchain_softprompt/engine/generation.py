"""Generation: the caller's handle on one request, and its result."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Self

from langchain_softprompt.errors import EngineClosedError

FinishReason = Literal["stop", "length", "cancelled"]

FORKED = (
    "This engine belongs to the process that made it, and its thread does not live on in a forked child. "
    "Build the engine inside the child, or start child processes with the 'spawn' method."
)


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """How a request ended.

    Attributes:
        token_ids: What was generated, without the token that ended it.
        finish_reason: ``"stop"`` at an end-of-sequence or stop token, or where a constraint lets nothing follow,
            ``"length"`` at ``max_new_tokens``, ``"cancelled"`` when the caller cancelled or the engine closed.
        prompt_tokens: Tokens of text read.
        virtual_tokens: Length of the soft prompt.
        cached_tokens: How many of the virtual tokens and of the text were not read, as their keys and values were
            there already.
    """

    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    virtual_tokens: int
    cached_tokens: int


class Generation:
    """One running request.

    Tokens are kept until they are read, so a caller who stops reading blocks nobody. Any number of readers, in threads
    and in event loops, each see all tokens from the first.
    """

    def __init__(self, *, prompt_tokens: int, virtual_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.virtual_tokens = virtual_tokens
        self.cached_tokens = 0
        self.abandoned = False
        self.on_cancel: Callable[[], None] | None = None
        self._tokens: list[int] = []
        self._ending: FinishReason | Exception | None = None
        self._lock = threading.RLock()  # A signal handler may cancel in the middle of anything.
        # Who waits for the end alone is not woken by each token: a batch of such threads would take turns with the engine.
        self._changed, self._ended = threading.Condition(self._lock), threading.Condition(self._lock)
        self._listeners: dict[Callable[[], None], bool] = {}  # and whether tokens matter to them
        self._process = os.getpid()

    @property
    def done(self) -> bool:
        """Whether the request has ended, well or badly."""
        return self._ending is not None

    @property
    def tokens(self) -> tuple[int, ...]:
        """What was generated so far."""
        with self._lock:
            return tuple(self._tokens)

    def __iter__(self) -> Iterator[int]:
        """Token ids as they come; blocks in between.

        Raises:
            SoftPromptError: The request failed; raised after the last token.
        """
        position, ended = 0, False
        while not ended:
            self._wait(position)
            fresh, ended = self._since(position)
            yield from fresh
            position += len(fresh)
        self._raise_failure()

    async def __aiter__(self) -> AsyncIterator[int]:
        """The same in an event loop, without a thread."""
        position, ended = 0, False
        with self._listening(to_tokens=True) as changed:
            while not ended:
                changed.clear()
                fresh, ended = self._since(position)
                for token in fresh:
                    yield token
                position += len(fresh)
                if not fresh and not ended:
                    await changed.wait()
        self._raise_failure()

    def result(self, timeout: float | None = None) -> GenerationResult:
        """Wait for the end.

        Raises:
            TimeoutError: The request did not end within `timeout` seconds; it goes on.
            SoftPromptError: The request failed.
        """
        if not self._wait(timeout=timeout):
            msg = f"The request did not end within {timeout} seconds. It still runs; call cancel() to stop it."
            raise TimeoutError(msg)
        return self._result()

    async def wait(self) -> GenerationResult:
        """Wait for the end in an event loop."""
        with self._listening(to_tokens=False) as changed:
            while not self.done:
                await changed.wait()
                changed.clear()
        return self._result()

    def cancel(self) -> None:
        """End the request now; its row is free within one step. What was generated so far stays readable."""
        on_cancel = self.on_cancel
        if os.getpid() != self._process or not self.end("cancelled"):
            return
        if on_cancel is not None:
            on_cancel()

    def push(self, token: int) -> int:
        """Hand a token to the readers; returns how many there are now. Ignored after the end."""
        with self._lock:
            if not self.done:
                self._tokens.append(token)
                self._notify(ended=False)
            return len(self._tokens)

    def end(self, ending: FinishReason | Exception) -> bool:
        """End the request; the first call decides. Returns whether this was it."""
        with self._lock:
            if self.done:
                return False
            self._ending = ending
            self.on_cancel = None
            self._notify(ended=True)
            return True

    def _notify(self, *, ended: bool) -> None:
        self._changed.notify_all()
        if ended:
            self._ended.notify_all()
        for listener, to_tokens in tuple(self._listeners.items()):
            try:
                if to_tokens or ended:
                    listener()
            except RuntimeError:  # Its event loop was closed.
                del self._listeners[listener]

    def _wait(self, position: int | None = None, timeout: float | None = None) -> bool:
        """Block until there is a token at `position`, or the end."""
        if os.getpid() != self._process:
            raise EngineClosedError(FORKED)
        with self._lock:
            if position is None:
                return self._ended.wait_for(lambda: self.done, timeout)
            return self._changed.wait_for(lambda: self.done or len(self._tokens) > position, timeout)

    def _since(self, position: int) -> tuple[list[int], bool]:
        with self._lock:
            return self._tokens[position:], self.done

    def _raise_failure(self) -> None:
        if isinstance(self._ending, Exception):
            raise self._ending

    def _result(self) -> GenerationResult:
        ending = self._ending
        if ending is None or isinstance(ending, Exception):
            self._raise_failure()
            msg = "The request has not ended."
            raise RuntimeError(msg)
        return GenerationResult(tuple(self._tokens), ending, self.prompt_tokens, self.virtual_tokens, self.cached_tokens)

    @contextmanager
    def _listening(self, *, to_tokens: bool) -> Iterator[asyncio.Event]:
        """An event of the running loop, set whenever something changed."""
        if os.getpid() != self._process:
            raise EngineClosedError(FORKED)
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def listener() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self._lock:
            self._listeners[listener] = to_tokens
        try:
            yield changed
        finally:
            with self._lock:
                self._listeners.pop(listener, None)


class TokenStream(Iterator[int]):
    """The tokens of one request; closing or dropping the stream cancels it."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self._tokens = iter(generation)
        self._closed = False

    def __next__(self) -> int:
        if self._closed:
            raise StopIteration
        return next(self._tokens)

    def close(self) -> None:
        """Cancel the request; nothing happens when it has ended."""
        self._closed = True
        self.generation.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # May run in any thread, in the middle of anything: a flag needs no lock. The engine looks at it each step.
        self.generation.abandoned = True


__all__ = ["FinishReason", "Generation", "GenerationResult", "TokenStream"]
