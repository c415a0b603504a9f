"""Servers: which one is asked, and what is tried again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from dataclasses import dataclass, field

import httpx

from langchain_softprompt.engine.checking import check_length
from langchain_softprompt.errors import RequestFailedError, ServerMismatchError, SoftPromptError
from langchain_softprompt.frozen_model import ModelOutline
from langchain_softprompt.remote.answers import Answer
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.remote.options import Options
from langchain_softprompt.remote.refusals import TryAgainError
from langchain_softprompt.remote.server import RenewedError, Server, Take
from langchain_softprompt.remote.vouching import vouch
from langchain_softprompt.remote.wire import Wire
from langchain_softprompt.sampling import TokenLogprob

logger = logging.getLogger(__name__)

_FIRST_WAIT, _LONGEST_WAIT = 0.25, 8.0
# A server that asks to be left alone for longer is believed, and the caller is told.
_LONGEST_ASKED_WAIT = 30.0
_MOST_RENEWALS = 3


@dataclass(slots=True)
class _Tries:
    """What came of a request so far.

    Attributes:
        unfit: Servers that are no use to it.
        failed: Servers that failed, once for each time.
        renewed: Servers that may have been started anew, once for each time that they were looked at again.
        handed_out: How many tokens the caller has.
    """

    unfit: set[Server] = field(default_factory=set)
    failed: list[Server] = field(default_factory=list)
    renewed: list[Server] = field(default_factory=list)
    handed_out: int = 0


class Servers:
    """All servers of one model. Everything happens in the loop's thread.

    Requests that can share what a server has cached (those of one soft prompt, or bare ones that begin alike) go to the same
    server as long as it is well, and to the same next one when it is not (rendezvous hashing, Thaler and Ravishankar 1998).

    Args:
        options: Where they are.
        outline: The model.
    """

    def __init__(self, options: Options, outline: ModelOutline) -> None:
        self._options = options
        self._outline = outline
        self._client: httpx.AsyncClient | None = None
        self._servers: list[Server] = []
        self._room = asyncio.Semaphore(options.limits.max_rows)
        self._complained: set[tuple[str, str]] = set()

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def know(self) -> None:
        """Ask one server what it serves, so that the outline knows.

        Raises:
            SoftPromptError: None can be asked, or none serves the model.
        """
        failure: Exception | None = None
        for server in sorted(self._all(), key=lambda server: server.pause):
            try:
                await server.served()
            except (TryAgainError, ServerMismatchError) as error:
                failure = error
            else:
                return
        if failure is not None:
            raise failure.error if isinstance(failure, TryAgainError) else failure

    async def ask(self, asked: Asked, take: Take) -> Answer:
        """Put a request to the server that is best for it, and hand its tokens out as they come.

        What fails before the first token is tried again, elsewhere if there is another server. After that nothing is: what was
        said was handed out already.

        Raises:
            SoftPromptError: It failed for good.
        """
        tries = _Tries()

        def counted(token: int, logprob: TokenLogprob | None) -> None:
            take(token, logprob)
            tries.handed_out += 1

        while True:
            server = self._choose(asked, tries)
            try:
                as_of = await self._prepare(server, asked)
                async with self._room:
                    return await server.ask(asked, counted, as_of=as_of if server not in tries.renewed else None)
            except RenewedError:
                tries.renewed.append(server)
                if tries.renewed.count(server) > _MOST_RENEWALS:
                    msg = f"{server.url}: It serves something else at each connection. Give the addresses of the servers themselves."
                    raise RequestFailedError(msg) from None
            except ServerMismatchError as error:
                tries.unfit.add(server)
                if tries.handed_out or len(tries.unfit) == len(self._servers):
                    raise
                self._complain(server, error)
            except TryAgainError as again:
                server.set_aside(again.wait)
                tries.failed.append(server)
                if tries.handed_out:
                    msg = f"The answer broke off after {tries.handed_out} tokens. {again.error}"
                    raise RequestFailedError(msg) from None
                if len(tries.failed) > self._options.retries or (again.wait or 0.0) > _LONGEST_ASKED_WAIT:
                    raise again.error from None
                await self._wait(asked, tries, again.wait)

    async def _prepare(self, server: Server, asked: Asked) -> int | None:
        """See that it is the right model and the right soft prompt, before anything is answered.

        Returns:
            When that was: what `Server.forgotten` was; ``None`` where there is no soft prompt.
        """
        await server.served()
        check_length(self._outline, asked.virtual_tokens, len(asked.token_ids), asked.settings.max_new_tokens)
        if asked.soft_prompt is None:
            return None
        as_of = server.forgotten
        await vouch(server, asked.soft_prompt, self._outline, self._room, allow_other_model=asked.allow_other_model)
        return as_of

    async def _wait(self, asked: Asked, tries: _Tries, wanted: float | None) -> None:
        """Not at all where there is another server to ask; else as long as was wanted, or longer each time, by chance."""
        following = self._choose(asked, tries)
        if following not in tries.failed and not following.pause:
            return
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (len(tries.failed) - 1))
        await asyncio.sleep(wanted if wanted is not None else random.uniform(longest / 2, longest))

    def _choose(self, asked: Asked, tries: _Tries) -> Server:
        def rank(server: Server) -> tuple[int, float, bytes]:
            return (tries.failed.count(server), server.pause, hashlib.sha256(asked.route + server.url.encode()).digest())

        return min((server for server in self._all() if server not in tries.unfit), key=rank)

    def _all(self) -> list[Server]:
        if self._client is None:
            options = self._options
            timeout = httpx.Timeout(options.read_timeout, connect=options.connect_timeout, pool=None)
            connections = httpx.Limits(max_connections=None, max_keepalive_connections=options.limits.max_rows)
            self._client = httpx.AsyncClient(timeout=timeout, limits=connections, verify=options.tls(), follow_redirects=False)
            wire = Wire(self._outline)
            self._servers = [Server(url, options, self._client, wire) for url in options.urls]
        return self._servers

    def _complain(self, server: Server, error: SoftPromptError) -> None:
        """Once: other servers answer, but it should be put right."""
        if (server.url, str(error)) not in self._complained:
            self._complained.add((server.url, str(error)))
            logger.warning("Other servers answer in its place. %s", error)


__all__ = ["Servers"]
