"""Who runs next: a bounded queue and the rows that run, first come first served. No tensors, no threads, no locks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import chain, islice
from typing import Generic, TypeVar

from langchain_softprompt.errors import EngineBusyError

R = TypeVar("R", bound=Hashable)


class Scheduler(Generic[R]):
    """Holds each request from its arrival to its end, either waiting or running.

    The caller guards it with a lock of its own.

    Args:
        max_rows: Most rows that run together; a request is one, unless it says otherwise.
        max_queue: Most requests that wait once all rows are taken.
        size: How many positions a request may come to.
        rows: How many rows a request takes.
        fits: Whether so many rows, the longest of such a size, can run together. One request alone must always fit.
    """

    def __init__(
        self,
        *,
        max_rows: int,
        max_queue: int,
        size: Callable[[R], int] = lambda _: 1,
        rows: Callable[[R], int] = lambda _: 1,
        fits: Callable[[int, int], bool] = lambda _rows, _longest: True,
    ) -> None:
        self._max_rows = max_rows
        self._max_queue = max_queue
        self._size = size
        self._rows = rows
        self._fits = fits
        # Dictionaries as ordered sets: cancelling one of thousands must not search them all.
        self._waiting: dict[R, None] = {}
        self._running: dict[R, None] = {}

    @property
    def waiting(self) -> tuple[R, ...]:
        """Requests that wait, in order of arrival."""
        return tuple(self._waiting)

    @property
    def running(self) -> tuple[R, ...]:
        """Requests that run, in order of admission."""
        return tuple(self._running)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    def __iter__(self) -> Iterator[R]:
        yield from self.running
        yield from self.waiting

    def submit(self, request: R) -> None:
        """Put a request at the end of the queue.

        Raises:
            EngineBusyError: There is no room for it to run, and the queue is full. A request that will find room at once does not
                count as waiting.
        """
        if len(self._waiting) + 1 - self._admissible(chain(self._waiting, [request])) > self._max_queue:
            msg = (
                f"The engine is full: {len(self._running)} requests run (max_rows={self._max_rows}) and {len(self._waiting)} wait "
                f"(max_queue={self._max_queue}). Try again later, or raise max_queue in EngineLimits."
            )
            raise EngineBusyError(msg)
        self._waiting[request] = None

    def admit(self) -> list[R]:
        """Move the longest-waiting requests to the free rows and return them.

        None overtakes another: when the first in line has to wait for room, so do those behind it, and as rows only
        end, it will find some.
        """
        admitted = list(islice(self._waiting, self._admissible(self._waiting)))
        for request in admitted:
            del self._waiting[request]
            self._running[request] = None
        return admitted

    def _admissible(self, line: Iterable[R]) -> int:
        """How many from the head of a line there is room for."""
        rows = sum(self._rows(request) for request in self._running)
        longest = max((self._size(request) for request in self._running), default=0)
        count = 0
        for request in line:
            longest, more = max(longest, self._size(request)), self._rows(request)
            if rows and (rows + more > self._max_rows or not self._fits(rows + more, longest)):
                break
            rows += more
            count += 1
        return count

    def withdraw(self, request: R) -> bool:
        """Take a request out of the queue; False when it does not wait there (any more)."""
        if request not in self._waiting:
            return False
        del self._waiting[request]
        return True

    def finish(self, request: R) -> None:
        """Free the row of a request; nothing happens when it does not run."""
        self._running.pop(request, None)

    def clear(self) -> list[R]:
        """Forget every request and return them, running ones first."""
        forgotten = list(self)
        self._running.clear()
        self._waiting.clear()
        return forgotten


__all__ = ["Scheduler"]
