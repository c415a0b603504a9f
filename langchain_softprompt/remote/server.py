"""Server: one vLLM server: its connection, and what is known of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any

import httpx

from langchain_softprompt.errors import RequestFailedError, SoftPromptError
from langchain_softprompt.remote.answers import Answer
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.remote.events import events, read_json
from langchain_softprompt.remote.identity import Served, check_served, read_served
from langchain_softprompt.remote.options import Options
from langchain_softprompt.remote.refusals import TryAgainError, refusal, refusal_within, silent, unreachable
from langchain_softprompt.remote.wire import Wire
from langchain_softprompt.sampling import TokenLogprob

Take = Callable[[int, TokenLogprob | None], None]

# A soft prompt's content, whether one made for another model is taken, and whether it has probes.
VouchKey = tuple[str, bool, bool]

_MODELS, _SOFT_PROMPTS = "/v1/models", "/v1/soft_prompts"
_MOST_WORDS = 1 << 16  # of a refusal
_MOST_SAID = 64 << 20  # of itself
_LONGEST_LAST_WORD = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class Server:
    """One server, in the loop's thread.

    Args:
        url: Its base URL.
        options: How it is asked.
        client: Connections.
        wire: Writes requests.

    Attributes:
        vouched: Soft prompts that are known to be what they should be there, by content; see `vouching`.
        vouching: Held while that is being found out, for each of them.
    """

    def __init__(self, url: str, options: Options, client: httpx.AsyncClient, wire: Wire) -> None:
        self.url = url
        self._options = options
        self._client = client
        self._wire = wire
        self._served: Served | None = None
        self._asked_at = 0.0
        self._asking = asyncio.Lock()
        self._failures = 0
        self._aside_until = 0.0
        self.vouched: set[VouchKey] = set()
        self.vouching: dict[VouchKey, asyncio.Lock] = {}

    @property
    def pause(self) -> float:
        """Seconds for which it is set aside; 0 for a server that is well, as far as is known."""
        return max(0.0, self._aside_until - time.monotonic())

    def set_aside(self, wait: float | None) -> None:
        """Leave it alone for a while. Whatever is found there then may be another server."""
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures) if wait is None else wait
        self._failures += 1
        self._aside_until = time.monotonic() + pause
        self._forget()

    async def served(self) -> Served:
        """What it serves, asked for now and then.

        Raises:
            TryAgainError: It can't be asked.
            SoftPromptError: It is not the right model, or it says so in a form that can't be read.
        """
        async with self._asking:
            if self._served is None or time.monotonic() - self._asked_at > self._options.check_every:
                found = await self._who()
                if found != self._served:
                    self._forget()
                self._served, self._asked_at = found, time.monotonic()
            return self._served

    async def ask(self, asked: Asked, take: Take) -> Answer:
        """Put a request, and hand its tokens out as they come.

        Raises:
            TryAgainError: It may go better elsewhere, or later.
            SoftPromptError: It will not.
        """
        served = await self.served()
        path, body = self._wire.request(asked, served)
        answer = Answer(asked, self._wire.vocab_size)
        try:
            async with self._client.stream("POST", self.url + path, content=body, headers=self._headers()) as response:
                if response.status_code != httpx.codes.OK:
                    raise await self._refused(response, path, asked, served)
                async with aclosing(response.aiter_bytes()) as pieces, aclosing(events(pieces)) as told:  # type: ignore[type-var]
                    async for event in told:
                        if event.get("error") is not None:
                            raise refusal_within(event["error"], path=path, asked=asked, served=served)
                        for token, logprob in answer.take(event):
                            take(token, logprob)
                    await _hear_out(pieces)
            answer.finish()
        except (httpx.HTTPError, httpx.StreamError, SoftPromptError, TryAgainError) as error:
            raise self._told(error) from None
        self._failures, self._aside_until = 0, 0.0
        return answer

    async def _who(self) -> Served:
        outline = self._wire.outline
        try:
            models = await self._get(_MODELS)
            plugin = await self._get(_SOFT_PROMPTS, optional=True)
            served = read_served(models or {}, plugin, self._options.served_model_name, outline)
            check_served(served, outline, self._options.served_model_name)
        except (httpx.HTTPError, httpx.StreamError, SoftPromptError, TryAgainError) as error:
            raise self._told(error) from None
        if outline.served_fingerprint is None:
            outline.served_fingerprint = served.fingerprint
        if served.max_positions is not None:
            outline.served_positions = min(served.max_positions, outline.served_positions or served.max_positions)
        return served

    async def _get(self, path: str, *, optional: bool = False) -> dict[str, Any] | None:
        """A JSON object; `None` where it is optional and the server does not know the path."""
        async with self._client.stream("GET", self.url + path, headers=self._headers()) as response:
            if optional and response.status_code == httpx.codes.NOT_FOUND:
                return None
            if response.status_code != httpx.codes.OK:
                raise await self._refused(response, path, None, None)
            return read_json(await _at_most(response, _MOST_SAID))

    async def _refused(
        self, response: httpx.Response, path: str, asked: Asked | None, served: Served | None
    ) -> SoftPromptError | TryAgainError:
        body = await _at_most(response, _MOST_WORDS)
        return refusal(response.status_code, body, response.headers, path=path, asked=asked, served=served)

    def _headers(self) -> dict[str, str]:
        key = self._options.key()
        said = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json", "Accept-Encoding": "identity"}
        return {**self._options.headers, **said, **({"Authorization": f"Bearer {key}"} if key is not None else {})}

    def _told(self, error: Exception) -> SoftPromptError | TryAgainError:
        """An error in our words, with the server's address and without secrets: those of httpx hold the request, and so its headers."""
        if isinstance(error, httpx.TimeoutException):
            connecting = isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            ours: SoftPromptError | TryAgainError = unreachable(error) if connecting else silent(self._options.read_timeout)
        elif isinstance(error, RequestFailedError):  # It said something that can't be read, or broke off: it may be going down.
            ours = TryAgainError(error)
        elif isinstance(error, SoftPromptError | TryAgainError):
            ours = error
        else:
            ours = unreachable(error)
        inner = ours.error if isinstance(ours, TryAgainError) else ours
        inner.args = (f"{self.url}: {self._options.hidden(str(inner))}", *inner.args[1:])
        return ours

    def _forget(self) -> None:
        self._served = None
        self.vouched.clear()


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


__all__ = ["Server", "Take", "VouchKey"]
