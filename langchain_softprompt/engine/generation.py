"""Generation: the caller's handle on one request, and its result."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Self

from langchain_softprompt.engine.handle import FinishReason, Handle
from langchain_softprompt.sampling import TokenLogprob


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
        logprobs: Of each token in `token_ids`, where the settings ask for them, else empty.
    """

    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    virtual_tokens: int
    cached_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


class Generation(Handle[GenerationResult]):
    """One running request.

    Tokens are kept until they are read, so a caller who stops reading blocks nobody. Any number of readers, in threads
    and in event loops, each see all tokens from the first.
    """

    def __init__(self, *, prompt_tokens: int, virtual_tokens: int) -> None:
        super().__init__(prompt_tokens=prompt_tokens, virtual_tokens=virtual_tokens)
        self._tokens: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        # Who waits for the end alone is not woken by each token: a batch of such threads would take turns with the engine.
        self._changed = threading.Condition(self._lock)

    @property
    def tokens(self) -> tuple[int, ...]:
        """What was generated so far."""
        with self._lock:
            return tuple(self._tokens)

    def logprob(self, position: int) -> TokenLogprob | None:
        """Of a token that was generated, by its position; ``None`` where the settings do not ask for it."""
        with self._lock:
            return self._logprobs[position] if self._logprobs else None

    def __iter__(self) -> Iterator[int]:
        """Token ids as they come; blocks in between.

        Raises:
            SoftPromptError: The request failed; raised after the last token.
        """
        position, ended = 0, False
        while not ended:
            self._wait_for_token(position)
            fresh, ended = self._since(position)
            yield from fresh
            position += len(fresh)
        self._raise_failure()

    async def __aiter__(self) -> AsyncIterator[int]:
        """The same in an event loop, without a thread."""
        position, ended = 0, False
        with self._listening(to_all=True) as changed:
            while not ended:
                changed.clear()
                fresh, ended = self._since(position)
                for token in fresh:
                    yield token
                position += len(fresh)
                if not fresh and not ended:
                    await changed.wait()
        self._raise_failure()

    def push(self, token: int, logprob: TokenLogprob | None = None) -> int:
        """Hand a token to the readers; returns how many there are now. Ignored after the end."""
        with self._lock:
            if not self.done:
                self._tokens.append(token)
                if logprob is not None:
                    self._logprobs.append(logprob)
                self._notify(ended=False)
            return len(self._tokens)

    def _notify(self, *, ended: bool) -> None:
        self._changed.notify_all()
        super()._notify(ended=ended)

    def _wait_for_token(self, position: int) -> None:
        """Block until there is a token at `position`, or the end."""
        self._check_process()
        with self._lock:
            self._changed.wait_for(lambda: self.done or len(self._tokens) > position)

    def _since(self, position: int) -> tuple[list[int], bool]:
        with self._lock:
            return self._tokens[position:], self.done

    def _result(self) -> GenerationResult:
        ending = self._finished()
        return GenerationResult(
            tuple(self._tokens), ending, self.prompt_tokens, self.virtual_tokens, self.cached_tokens, tuple(self._logprobs)
        )


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


__all__ = ["Generation", "GenerationResult", "TokenStream"]
