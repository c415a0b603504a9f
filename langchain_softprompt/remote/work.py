"""What is done in the loop for a request, up to its end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from langchain_softprompt.engine import FinishReason, Generation
from langchain_softprompt.engine.handle import Handle
from langchain_softprompt.errors import RequestFailedError, SoftPromptError
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.remote.constraints import Follower
from langchain_softprompt.remote.servers import Servers
from langchain_softprompt.sampling import TokenLogprob


class Asking(Handle[None]):
    """A question to the servers about themselves."""

    def _result(self) -> None:
        self._raise_failure()


class Closing:
    """What is left to do in the loop at its end; it must not hold the engine.

    Attributes:
        close: Closes what was opened, if anything was.
    """

    def __init__(self) -> None:
        self.close: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def __call__(self) -> None:
        """Do it."""
        if self.close is not None:
            await self.close()


async def generate(servers: Servers, asked: Asked, follower: Follower, generation: Generation) -> FinishReason:
    """Have a request answered, and hand its tokens to who waits for them."""

    def take(token: int, logprob: TokenLogprob | None) -> None:
        follower.take(token)
        generation.push(token, logprob)

    answer = await servers.ask(asked, take)
    if answer.finish_reason == "stop" and answer.ending is None and not follower.complete:
        msg = f"The server's answer can't be read: it stops after {answer.count} tokens, at none that ends it, and the grammar goes on."
        raise RequestFailedError(msg)
    generation.cached_tokens = answer.cached_tokens
    # What is complete has ended by itself, though the server was not let to say so.
    return "length" if answer.finish_reason == "length" and not follower.complete else "stop"


async def run(handle: Handle[Any], work: Callable[[], Coroutine[Any, Any, FinishReason]]) -> None:
    """Do the work of a request, and end it however that ends."""
    ending: FinishReason | Exception = "cancelled"
    try:
        ending = await work()
    except SoftPromptError as error:
        ending = error
    except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an end.
        ending = RequestFailedError(f"The request failed: {type(error).__name__}: {error}")
    finally:
        if isinstance(ending, Exception):  # Its frames would hold on to the request and its headers.
            ending.__traceback__ = ending.__context__ = ending.__cause__ = None
        handle.end(ending)


__all__ = ["Asking", "Closing", "generate", "run"]
