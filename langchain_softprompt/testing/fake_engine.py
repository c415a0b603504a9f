"""FakeEngine: answers from a script, with no weights and no threads."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_softprompt.engine import FinishReason, GenerationResult
from langchain_softprompt.errors import ContextLengthError
from langchain_softprompt.sampling import TokenLogprob
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from langchain_softprompt.testing.fake_scoring import FakeScoring, scripted_scores
from langchain_softprompt.testing.tiny import tiny_tokenizer

if TYPE_CHECKING:
    from langchain_softprompt.sampling import Constraint
    from langchain_softprompt.soft_prompt import SoftPrompt


@dataclass(frozen=True, slots=True)
class FakeRequest:
    """What a `FakeEngine` was asked.

    Attributes:
        prompt: The rendered prompt as text, special tokens included.
        token_ids: The same as tokens.
        soft_prompt: The soft prompt; ``None`` for the bare model.
        settings: How to generate.
        generation: The handle the caller got; its ``cancelled`` tells whether the caller gave up.
        constraint: What the answer was to be held to; the script is not held to it.
        continuations: The texts that were to be scored; ``None`` where an answer was wanted.
    """

    prompt: str
    token_ids: tuple[int, ...]
    soft_prompt: SoftPrompt | None
    settings: GenerationSettings
    generation: FakeGeneration | FakeScoring
    constraint: Constraint | None = None
    continuations: tuple[str, ...] | None = None


Answer = str | Mapping[str, float] | Exception


class FakeEngine:
    """Stands in for `Engine` in `ChatSoftPrompt(model=..., engine=FakeEngine([...]))`.

    Args:
        answers: Answers in turn, from the start again after the last; an exception among them is raised. Or a
            function from the request to its answer. Where labels are to be scored, an answer is the likeliest of them, at
            90 percent; or a dictionary from label to probability, which elsewhere stands for its likeliest text.
        tokenizer: A tokenizer with a chat template; the default makes one token of each byte.
        max_positions: Context window; ``None`` for no limit.
        name: What the model is called.

    Attributes:
        requests: All requests so far, oldest first.
        limits: As of a real engine.
    """

    def __init__(
        self,
        answers: Sequence[Answer] | Callable[[FakeRequest], Answer] = ("OK",),
        *,
        tokenizer: Any = None,
        max_positions: int | None = None,
        name: str = "fake",
    ) -> None:
        self._answer = answers if callable(answers) else _in_turn(answers)
        self.model = FakeModel(tokenizer or tiny_tokenizer(), name, max_positions)
        self.limits = EngineLimits()
        self.requests: list[FakeRequest] = []

    def submit(
        self,
        token_ids: Sequence[int],
        *,
        soft_prompt: SoftPrompt | None = None,
        settings: GenerationSettings | None = None,
        allow_other_model: bool = False,
        constraint: Constraint | None = None,
    ) -> FakeGeneration:
        """Take a request and have its answer ready.

        Raises:
            ContextLengthError: Soft prompt, text and answer do not fit ``max_positions``.
        """
        settings = settings or GenerationSettings()
        virtual_tokens = self._checked_length(token_ids, soft_prompt, settings.max_new_tokens)
        generation = FakeGeneration(len(token_ids), virtual_tokens, settings.top_logprobs)
        answer = self._take(FakeRequest(self._text(token_ids), tuple(token_ids), soft_prompt, settings, generation, constraint))
        if isinstance(answer, Exception):
            generation.fail(answer)
        else:
            text = max(answer, key=answer.__getitem__) if isinstance(answer, Mapping) else answer
            generation.script(self.model.tokenizer.encode(text, add_special_tokens=False), settings.max_new_tokens)
        return generation

    def score(
        self,
        token_ids: Sequence[int],
        continuations: Iterable[Sequence[int]],
        *,
        soft_prompt: SoftPrompt | None = None,
        allow_other_model: bool = False,
    ) -> FakeScoring:
        """Take a request for scores and have them ready.

        Raises:
            ContextLengthError: Soft prompt, text and the longest continuation do not fit ``max_positions``.
            RequestError: The script's answer is none of the continuations.
        """
        labels = [tuple(continuation) for continuation in continuations]
        virtual_tokens = self._checked_length(token_ids, soft_prompt, max(map(len, labels), default=0))
        texts = tuple(self._text(label, skip_special_tokens=True) for label in labels)
        scoring = FakeScoring(len(token_ids), virtual_tokens)
        request = FakeRequest(self._text(token_ids), tuple(token_ids), soft_prompt, GenerationSettings(), scoring, continuations=texts)
        answer = self._take(request)
        if isinstance(answer, Exception):
            scoring.fail(answer)
        else:
            scoring.script(scripted_scores(answer, texts, labels))
        return scoring

    def _take(self, request: FakeRequest) -> Answer:
        self.requests.append(request)
        return self._answer(request)

    def _text(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        return str(self.model.tokenizer.decode(list(token_ids), skip_special_tokens=skip_special_tokens))

    def _checked_length(self, token_ids: Sequence[int], soft_prompt: SoftPrompt | None, new_tokens: int) -> int:
        virtual_tokens = soft_prompt.num_virtual_tokens if soft_prompt is not None else 0
        needed = virtual_tokens + len(token_ids) + new_tokens
        if self.model.max_positions is not None and needed > self.model.max_positions:
            msg = f"{needed} tokens do not fit the context of {self.model.max_positions}. Lower max_new_tokens or shorten the text."
            raise ContextLengthError(msg)
        return virtual_tokens


@dataclass(frozen=True)
class FakeModel:
    """What a `FakeEngine` shows of a frozen model.

    Attributes:
        tokenizer: Its tokenizer.
        name: What it is called.
        max_positions: Context window.
        revision: None: it has no history.
    """

    tokenizer: Any
    name: str
    max_positions: int | None
    revision: str | None = None

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """What ends an answer, as far as the tokenizer knows."""
        end = self.tokenizer.eos_token_id
        return () if end is None else (int(end),)

    @property
    def fingerprint(self) -> str:
        """Made from the name, for lack of weights."""
        return hashlib.sha256(self.name.encode()).hexdigest()


class FakeGeneration:
    """The handle on one scripted answer.

    Attributes:
        cancelled: Whether it was cancelled before it was read to its end.
    """

    def __init__(self, prompt_tokens: int, virtual_tokens: int, top_logprobs: int | None = None) -> None:
        self._top_logprobs = top_logprobs
        self._prompt_tokens = prompt_tokens
        self._virtual_tokens = virtual_tokens
        self._tokens: tuple[int, ...] = ()
        self._too_long = False
        self._error: Exception | None = None
        self._read = 0
        self.cancelled = False

    @property
    def done(self) -> bool:
        """Whether there is nothing left to read."""
        return self.cancelled or self._error is not None or self._read >= len(self._tokens)

    def script(self, token_ids: Sequence[int], most: int) -> None:
        """Set the answer."""
        self._tokens, self._too_long = tuple(token_ids[:most]), len(token_ids) >= most

    def fail(self, error: Exception) -> None:
        """Fail in place of an answer."""
        self._error = error

    def logprob(self, position: int) -> TokenLogprob | None:
        """A script is sure of each token; ``None`` where nobody asked."""
        return None if self._top_logprobs is None else TokenLogprob(0.0, ((self._tokens[position], 0.0),)[: self._top_logprobs])

    def __iter__(self) -> Iterator[int]:
        """The tokens, one at a time."""
        self._raise_error()
        for token in self._tokens:
            if self.cancelled:
                return
            self._read += 1
            yield token

    async def __aiter__(self) -> AsyncIterator[int]:
        """The same in an event loop, which gets a turn before each token."""
        for token in self:
            await asyncio.sleep(0)
            yield token

    def result(self, timeout: float | None = None) -> GenerationResult:
        """How it ended."""
        self._raise_error()
        if not self.cancelled:
            self._read = len(self._tokens)
        reason: FinishReason = "cancelled" if self.cancelled else "length" if self._too_long else "stop"
        tokens = self._tokens[: self._read]
        return GenerationResult(tokens, reason, self._prompt_tokens, self._virtual_tokens, cached_tokens=0)

    async def wait(self) -> GenerationResult:
        """The same in an event loop."""
        await asyncio.sleep(0)
        return self.result()

    def cancel(self) -> None:
        """Give it up; nothing happens when it was read to its end."""
        self.cancelled = self.cancelled or not self.done

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _in_turn(answers: Sequence[Answer]) -> Callable[[FakeRequest], Answer]:
    script = itertools.cycle(answers)
    return lambda _request: next(script)
