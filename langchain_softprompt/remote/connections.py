"""Connections: when they are opened, as whoever answers on a new one may be another process than before."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

Opened = Callable[[float], Awaitable[None]]


class Connections:
    """Those to one server. Nothing is sent on a new one before what is known of the server was looked at again.

    httpx opens them by itself, whenever none is idle: also after a server was started anew, which closed them all.

    Args:
        begun: Called when one is opened while no other is in use: the server may have been started anew. Where others are in use,
            it was not, or they break.
    """

    def __init__(self, begun: Callable[[], None]) -> None:
        self._begun = begun
        self._used = 0

    @contextmanager
    def request(self, opened: Opened | None = None) -> Iterator[dict[str, Any]]:
        """For the time of one request.

        Args:
            opened: Called before the request is sent on a new connection, with the time at which that was opened. What it raises
                is raised by the request, which is not sent then.

        Yields:
            The request's ``extensions``.
        """
        connection = _Connection(self, opened)
        try:
            yield {"trace": connection}
        finally:
            connection.use(in_use=False)

    def count(self, change: int) -> None:
        """One more, or one less, is in use."""
        self._used += change

    def connect(self) -> None:
        """One is about to be opened."""
        if not self._used:
            self._begun()


class _Connection:
    """Hears from httpx what becomes of one request's connection; until it hears otherwise, that is one that was opened before."""

    def __init__(self, connections: Connections, opened: Opened | None) -> None:
        self._connections = connections
        self._opened = opened
        self._opened_at: float | None = None
        self._in_use = False
        self.use(in_use=True)

    async def __call__(self, event: str, _: object) -> None:
        step = event.partition(".")[2]
        if step == "connect_tcp.started":
            self.use(in_use=False)
            self._connections.connect()
        elif step == "connect_tcp.complete":
            self._opened_at = time.monotonic()
        elif step == "send_request_headers.started" and self._opened_at is not None:
            if self._opened is not None:
                await self._opened(self._opened_at)
            self._opened_at = None
            self.use(in_use=True)

    def use(self, *, in_use: bool) -> None:
        """Count it among those in use, or no longer."""
        if in_use != self._in_use:
            self._in_use = in_use
            self._connections.count(1 if in_use else -1)


__all__ = ["Connections", "Opened"]
