"""Loop: the one thread that talks to all servers, with an event loop of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from langchain_softprompt.engine.handle import FORKED, Handle
from langchain_softprompt.errors import EngineBusyError, EngineClosedError

# How often it is looked whether somebody still waits: a stream that was dropped can't call in the middle of anything.
_LOOK_EVERY = 0.5
_LONGEST_GOODBYE = 2.0

Work = Callable[[], Coroutine[Any, Any, None]]


class Loop:
    """Runs the requests of one engine until it is stopped. The thread begins with the first request.

    Args:
        name: What the thread is called.
        most: Most requests at a time; one more is refused.
        closing: What is left to do in the loop when all requests have ended.
    """

    def __init__(self, name: str, most: int, closing: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._most = most
        self._closing = closing
        self._lock = threading.RLock()  # A signal handler may cancel in the middle of anything.
        self._process: int | None = None  # that the thread lives in
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: dict[Handle[Any], asyncio.Task[None] | None] = {}
        self._stopped = False
        self._looking = False

    @property
    def stopped(self) -> bool:
        """Whether it takes no more requests."""
        return self._stopped

    @property
    def under_way(self) -> int:
        """How many requests there are."""
        return len(self._tasks)

    def begin(self, handle: Handle[Any], work: Work) -> None:
        """Start what answers a request; it ends the handle itself.

        Raises:
            EngineBusyError: There are too many.
            EngineClosedError: The loop was stopped, or belongs to a parent process.
        """
        if self._process not in (None, os.getpid()):  # Before the lock, which may have been held at the fork.
            raise EngineClosedError(FORKED)
        with self._lock:
            if self._stopped:
                msg = "The engine was closed. Build a new one."
                raise EngineClosedError(msg)
            if len(self._tasks) >= self._most:
                msg = f"{self._most} requests are under way or wait. Try again later, or raise max_queue in EngineLimits."
                raise EngineBusyError(msg)
            loop = self._running()
            self._tasks[handle] = None
            loop.call_soon_threadsafe(self._begin, handle, work)

    def cancel(self, handle: Handle[Any]) -> None:
        """Stop what answers a request; its connection is closed."""
        with self._lock, suppress(RuntimeError):  # The loop is closed already.
            if self._loop is not None and handle in self._tasks:
                self._loop.call_soon_threadsafe(self._cancel, handle)

    def stop(self, timeout: float | None = None) -> None:
        """Refuse further requests, cancel all there are, and wait for the thread to end."""
        if self._process not in (None, os.getpid()):
            return
        with self._lock:
            self._stopped = True
            loop, thread, cancelled = self._loop, self._thread, list(self._tasks)
        for handle in cancelled:
            handle.end("cancelled")
        if loop is None or thread is None:
            return
        with suppress(RuntimeError):  # It was stopped before.
            loop.call_soon_threadsafe(loop.stop)
        if threading.current_thread() is not thread:
            thread.join(timeout)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._process = os.getpid()
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
        return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(self._wind_up())
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    async def _wind_up(self) -> None:
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        with suppress(Exception):  # Whatever a connection has to say at its end, nobody hears it any more.
            await asyncio.wait_for(self._closing(), _LONGEST_GOODBYE)

    # In the loop's thread.

    def _begin(self, handle: Handle[Any], work: Work) -> None:
        if handle.done or self._loop is None:
            self._forget(handle)
            return
        if not self._looking:
            self._looking = True
            self._loop.call_later(_LOOK_EVERY, self._look)
        task = self._loop.create_task(work())
        with self._lock:
            self._tasks[handle] = task
        task.add_done_callback(lambda _: self._forget(handle))

    def _cancel(self, handle: Handle[Any]) -> None:
        task = self._tasks.get(handle)
        if task is not None:
            task.cancel()

    def _forget(self, handle: Handle[Any]) -> None:
        with self._lock:
            self._tasks.pop(handle, None)

    def _look(self) -> None:
        """Give up what nobody waits for any more."""
        with self._lock:
            running = list(self._tasks.items())
        for handle, task in running:
            if handle.abandoned and task is not None:
                handle.end("cancelled")
                task.cancel()
        self._looking = bool(running)
        if running and self._loop is not None:
            self._loop.call_later(_LOOK_EVERY, self._look)


__all__ = ["Loop"]
