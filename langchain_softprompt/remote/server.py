"""Server: one vLLM server: its connection, and what is known of it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any

import httpx

from langchain_softprompt.errors import ModelMismatchError, RequestFailedError, SoftPromptError
from langchain_softprompt.remote.answers import Answer
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.remote.connections import Connections
from langchain_softprompt.remote.events import events, read_json
from langchain_softprompt.remote.identity import Served, check_served, read_served
from langchain_softprompt.remote.options import Options
from langchain_softprompt.remote.refusals import TryAgainError, refusal, refusal_within, silent, unreachable
from langchain_softprompt.remote.shared import Shared
from langchain_softprompt.remote.wire import Wire
from langchain_softprompt.sampling import TokenLogprob
from langchain_softprompt.vllm_plugin.names import ROUTE

Take = Callable[[int, TokenLogprob | None], None]

# A soft prompt's content, whether one made for another model is taken, and whether it has probes.
VouchKey = tuple[str, bool, bool]

_MODELS = "/v1/models"
_MOST_WORDS = 1 << 16  # of a refusal
_MOST_SAID = 64 << 20  # of itself
_LONGEST_LAST_WORD = 0.5
_LONGEST_SILENCE = 10.0  # about itself, which it need not compute
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class RenewedError(Exception):
    """The server may have been started anew since it was last known to be right: nothing was answered yet; look again, then ask."""


class Server:
    """One server, in the loop's thread.

    Args:
        url: Its base URL.
        options: How it is asked.
        client: Connections.
        wire: Writes requests.

    Attributes:
        vouched: Soft prompts that are known to be what they should be there, by content; see `vouching`.
        vouching: How that is being found out, for each of them.
        forgotten: How often it was forgotten what was known of it.
    """

    def __init__(self, url: str, options: Options, client: httpx.AsyncClient, wire: Wire) -> None:
        self.url = url
        self._options = options
        self._client = client
        self._wire = wire
        self._served: Served | None = None
        self._asked_at = 0.0
        self._asking: Shared[Served] = Shared()
        self._connections = Connections(self._begun)
        self._failures = 0
        self._aside_until = 0.0
        self.vouched: set[VouchKey] = set()
        self.vouching: dict[VouchKey, Shared[None]] = {}
        self.forgotten = 0

    @property
    def pause(self) -> float:
        """Seconds for which it is set aside; 0 for a server that is well, as far as is known."""
        return max(0.0, self._aside_until - time.monotonic())

    def set_aside(self, wait: float | None) -> None:
        """Leave it alone for a while. Whatever is found there then may be another server."""
        if not self.pause:  # Requests that fail together are one failure.
            self._failures += 1
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** max(0, self._failures - 1)) if wait is None else wait
        self._aside_until = time.monotonic() + pause
        self._forget()

    async def served(self, since: float = -math.inf) -> Served:
        """What it serves, asked for now and then.

        Args:
            since: A moment, as `time.monotonic` tells it. What it said before that does not count.

        Raises:
            TryAgainError: It can't be asked.
            SoftPromptError: It is not the right model, or it says so in a form that can't be read.
        """
        if self._served is not None and since <= self._asked_at >= time.monotonic() - self._options.check_every:
            return self._served
        return await self._asking(self._find_out)

    async def ask(self, asked: Asked, take: Take, *, as_of: int | None = None) -> Answer:
        """Put a request, and hand its tokens out as they come.

        Args:
            asked: The request.
            take: Is given the tokens.
            as_of: What `forgotten` was before the request's soft prompt was vouched for; ``None`` to ask all the same when what was
                known has been forgotten since.

        Raises:
            RenewedError: It may have been started anew, and the request was not put.
            TryAgainError: It may go better elsewhere, or later.
            SoftPromptError: It will not.
        """
        served = await self.served()
        path, body = self._wire.request(asked, served)
        answer = Answer(asked, self._wire.vocab_size, served.max_positions)

        async def opened(when: float) -> None:
            if await self.served(when) != served or as_of not in (None, self.forgotten):
                raise RenewedError

        if as_of not in (None, self.forgotten):
            raise RenewedError
        try:
            with self._connections.request(opened) as extensions:
                sent = self._client.stream("POST", self.url + path, content=body, headers=self._headers(), extensions=extensions)
                async with sent as response:
                    await self._hear(response, path, served, answer, take)
            answer.finish()
        except ModelMismatchError as error:  # It says something else of its model than it did.
            self._forget()
            if as_of is not None:
                raise RenewedError from None
            raise self._told(error, 0) from None
        except (httpx.HTTPError, httpx.StreamError, TimeoutError, SoftPromptError, TryAgainError) as error:
            raise self._told(error, self._options.read_timeout) from None
        self._failures, self._aside_until = 0, 0.0
        return answer

    async def _hear(self, response: httpx.Response, path: str, served: Served, answer: Answer, take: Take) -> None:
        patience, now = self._options.read_timeout, asyncio.get_running_loop().time
        async with asyncio.timeout(patience) as silence:  # httpx's own is for bytes, and a server that computes nothing may send some.
            if response.status_code != httpx.codes.OK:
                raise await self._refused(response, path, answer.asked, served)
            async with aclosing(response.aiter_bytes()) as pieces, aclosing(events(pieces)) as told:  # type: ignore[type-var]
                async for event in told:
                    if event.get("error") is not None:
                        raise refusal_within(event["error"], path=path, asked=answer.asked, served=served)
                    ended, steps = answer.finish_reason, answer.take(event)
                    if steps or answer.finish_reason != ended:
                        silence.reschedule(now() + patience)
                    for token, logprob in steps:
                        take(token, logprob)
                await _hear_out(pieces)

    async def _find_out(self) -> Served:
        try:
            found = await self._who()
        except Exception:
            self._forget()  # A connection to it may be open, and would be used again.
            raise
        if found != self._served:
            self._forget()
        self._served, self._asked_at = found, time.monotonic()
        return found

    async def _who(self) -> Served:
        outline = self._wire.outline
        try:
            models = await self._get(_MODELS)
            plugin = await self._get(ROUTE, optional=True)
            served = read_served(models or {}, plugin, self._options.served_model_name, outline)
            check_served(served, outline, self._options.served_model_name)
        except (httpx.HTTPError, httpx.StreamError, TimeoutError, SoftPromptError, TryAgainError) as error:
            raise self._told(error, self._patience) from None
        if outline.served_fingerprint is None:
            outline.served_fingerprint = served.fingerprint
        if served.max_positions is not None:
            outline.served_positions = min(served.max_positions, outline.served_positions or served.max_positions)
        return served

    async def _get(self, path: str, *, optional: bool = False) -> dict[str, Any] | None:
        """A JSON object; `None` where it is optional and the server does not know the path."""
        timeout = httpx.Timeout(self._patience, connect=self._options.connect_timeout, pool=None)
        with self._connections.request() as extensions:
            sent = self._client.stream("GET", self.url + path, headers=self._headers(), timeout=timeout, extensions=extensions)
            async with sent as response, asyncio.timeout(self._patience):
                if optional and response.status_code == httpx.codes.NOT_FOUND:
                    return None
                if response.status_code != httpx.codes.OK:
                    raise await self._refused(response, path, None, None)
                return read_json(await _at_most(response, _MOST_SAID))

    @property
    def _patience(self) -> float:
        return min(_LONGEST_SILENCE, self._options.read_timeout)

    async def _refused(
        self, response: httpx.Response, path: str, asked: Asked | None, served: Served | None
    ) -> SoftPromptError | TryAgainError:
        body = await _at_most(response, _MOST_WORDS)
        return refusal(response.status_code, body, response.headers, path=path, asked=asked, served=served)

    def _headers(self) -> dict[str, str]:
        key = self._options.key()
        said = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json", "Accept-Encoding": "identity"}
        return {**self._options.headers, **said, **({"Authorization": f"Bearer {key}"} if key is not None else {})}

    def _told(self, error: Exception, waited: float) -> SoftPromptError | TryAgainError:
        """An error in our words, with the server's address and without secrets: those of httpx hold the request, and so its headers."""
        if isinstance(error, httpx.TimeoutException):
            connecting = isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            ours: SoftPromptError | TryAgainError = unreachable(error) if connecting else silent(waited)
        elif isinstance(error, TimeoutError):
            ours = silent(waited)
        elif isinstance(error, RequestFailedError):  # It said something that can't be read, or broke off: it may be going down.
            ours = TryAgainError(error)
        elif isinstance(error, SoftPromptError | TryAgainError):
            ours = error
        else:
            ours = unreachable(error)
        inner = ours.error if isinstance(ours, TryAgainError) else ours
        if not str(inner).startswith(self.url):  # What it said of itself, while it was asked for an answer, was told before.
            inner.args = (f"{self.url}: {self._options.hidden(str(inner))}", *inner.args[1:])
        return ours

    def _begun(self) -> None:
        """It may have been started anew. Where it tells its weights, that they are the same ones is asked; else all depends on probes."""
        if self._served is None or self._served.fingerprint is None:
            self._forget_vouched()

    def _forget(self) -> None:
        self._served = None
        self._forget_vouched()

    def _forget_vouched(self) -> None:
        self.vouched.clear()
        self.forgotten += 1


async def _hear_out(pieces: AsyncIterator[bytes]) -> None:
    """Read on to the end of the answer's last bytes, if they are there: a connection that was read to its end is used again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LONGEST_LAST_WORD):
            async for piece in pieces:
                if piece.strip():
                    return


async def _at_most(response: httpx.Response, most: int) -> bytes:
    """The body, as far as anybody would read it."""
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > most:
            break
    return body[:most]


__all__ = ["RenewedError", "Server", "Take", "VouchKey"]
