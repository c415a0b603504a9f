"""Handle: what callers of all kinds of requests hold on to. Any number of threads and event loops wait on one."""

from __future__ import annotations

import asyncio
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Literal, TypeVar

from langchain_softprompt.errors import EngineClosedError

FinishReason = Literal["stop", "length", "cancelled"]
R_co = TypeVar("R_co", covariant=True)

FORKED = (
    "This engine belongs to the process that made it, and its thread does not live on in a forked child. "
    "Build the engine inside the child, or start child processes with the 'spawn' method."
)


class Handle(ABC, Generic[R_co]):
    """One request under way.

    Attributes:
        prompt_tokens: Tokens of text.
        virtual_tokens: Length of the soft prompt.
        cached_tokens: How many of both did not have to be read.
        abandoned: Set when nobody can ask for the result any more.
        on_cancel: Called when the caller cancels.
    """

    def __init__(self, *, prompt_tokens: int, virtual_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.virtual_tokens = virtual_tokens
        self.cached_tokens = 0
        self.abandoned = False
        self.on_cancel: Callable[[], None] | None = None
        self._ending: FinishReason | Exception | None = None
        self._lock = threading.RLock()  # A signal handler may cancel in the middle of anything.
        self._ended = threading.Condition(self._lock)
        self._listeners: dict[Callable[[], None], bool] = {}  # and whether they wait for more than the end
        self._process = os.getpid()

    @property
    def done(self) -> bool:
        """Whether the request has ended, well or badly."""
        return self._ending is not None

    def result(self, timeout: float | None = None) -> R_co:
        """Wait for the end.

        Raises:
            TimeoutError: The request did not end within `timeout` seconds; it goes on.
            SoftPromptError: The request failed.
        """
        self._check_process()
        with self._lock:
            ended = self._ended.wait_for(lambda: self.done, timeout)
        if not ended:
            msg = f"The request did not end within {timeout} seconds. It still runs; call cancel() to stop it."
            raise TimeoutError(msg)
        return self._result()

    async def wait(self) -> R_co:
        """Wait for the end in an event loop, without a thread."""
        with self._listening(to_all=False) as changed:
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

    def end(self, ending: FinishReason | Exception) -> bool:
        """End the request; the first call decides. Returns whether this was it."""
        with self._lock:
            if self.done:
                return False
            self._ending = ending
            self.on_cancel = None
            self._notify(ended=True)
            return True

    @abstractmethod
    def _result(self) -> R_co:
        """What to hand out; raises why there is nothing."""

    def _notify(self, *, ended: bool) -> None:
        if ended:
            self._ended.notify_all()
        for listener, to_all in tuple(self._listeners.items()):
            try:
                if to_all or ended:
                    listener()
            except RuntimeError:  # Its event loop was closed.
                del self._listeners[listener]

    def _finished(self) -> FinishReason:
        """How it ended; raises why it failed."""
        self._raise_failure()
        if self._ending is None or isinstance(self._ending, Exception):
            msg = "The request has not ended."
            raise RuntimeError(msg)
        return self._ending

    def _raise_failure(self) -> None:
        if isinstance(self._ending, Exception):
            raise self._ending

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise EngineClosedError(FORKED)

    @contextmanager
    def _listening(self, *, to_all: bool) -> Iterator[asyncio.Event]:
        """An event of the running loop, set at the end, or whenever something changed."""
        self._check_process()
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def listener() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self._lock:
            self._listeners[listener] = to_all
        try:
            yield changed
        finally:
            with self._lock:
                self._listeners.pop(listener, None)


__all__ = ["FORKED", "FinishReason", "Handle"]
