"""Shared: one piece of work at a time, whose outcome goes to all who asked for it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Work that several wait for is done once; a failure is told to all of them, rather than found out by one after another.

    It goes on when one of them leaves, and ends when the last does.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None
        self._waiting = 0

    async def __call__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the work under way comes to, or this work if there is none.

        Raises:
            Exception: What it raised, as an error of each waiter's own.
        """
        if self._task is None:
            self._task, self._waiting = asyncio.ensure_future(work()), 0
            self._task.add_done_callback(self._ended)
        task = self._task
        self._waiting += 1
        try:
            return await asyncio.shield(task)
        except Exception as error:  # noqa: BLE001 - whatever it is, all are told.
            raise _own(error) from None
        finally:
            if self._task is task:
                self._waiting -= 1
                if not self._waiting:
                    self._task = None
                    task.cancel()

    def _ended(self, task: asyncio.Task[T]) -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled():
            task.exception()  # Nobody may be left to hear of it, which asyncio would complain of.


def _own(error: Exception) -> Exception:
    """The same error without traceback: it is raised in several threads."""
    new = type(error).__new__(type(error), *error.args)
    new.__dict__.update({name: _own(value) if isinstance(value, Exception) else value for name, value in error.__dict__.items()})
    new.args = error.args
    return new


__all__ = ["Shared"]
