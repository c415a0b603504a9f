"""Engine: submit / stream / cancel / close. Token ids in, token ids out."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from langchain_softprompt.decode import TokenTree
from langchain_softprompt.engine.generation import Generation, TokenStream
from langchain_softprompt.engine.memory import RowBudget
from langchain_softprompt.engine.request import Request
from langchain_softprompt.engine.scoring import Scoring
from langchain_softprompt.engine.worker import Worker
from langchain_softprompt.errors import ContextLengthError, RequestError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.sampling import Constraint
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt

# A forward can't be interrupted. At interpreter exit it is waited for, but not for ever.
_LONGEST_EXIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """How busy an engine is.

    Attributes:
        running: Requests that hold a row.
        waiting: Requests in the queue.
    """

    running: int
    waiting: int


class Engine:
    """Serves one frozen model to any number of threads and event loops.

    Requests with different soft prompts, and with none, decode together; in float32 each gets the tokens it would get
    alone. An engine lives as long as somebody holds it or it has requests to serve.

    Args:
        model: The frozen model; only the engine's thread uses it from now on.
        limits: How much to hold at a time.
    """

    def __init__(self, model: FrozenModel, limits: EngineLimits | None = None) -> None:
        self._model = model
        self._limits = limits or EngineLimits()
        self._budget = RowBudget.of(model, self._limits)
        self._worker = Worker(model, self._limits, self._budget)
        # Runs when the engine is dropped, and at interpreter exit while threads can still be joined: a daemon thread
        # that comes back from C++ after that would abort the process.
        self._finalizer = weakref.finalize(self, self._worker.stop, _LONGEST_EXIT_SECONDS)

    @property
    def model(self) -> FrozenModel:
        """The frozen model."""
        return self._model

    @property
    def limits(self) -> EngineLimits:
        """How much this engine holds at a time."""
        return self._limits

    @property
    def closed(self) -> bool:
        """Whether it takes no more requests."""
        return self._worker.stopped

    @property
    def load(self) -> EngineLoad:
        """How many requests run and wait at this moment."""
        return EngineLoad(*self._worker.load())

    def submit(
        self,
        token_ids: Sequence[int],
        *,
        soft_prompt: SoftPrompt | None = None,
        settings: GenerationSettings | None = None,
        allow_other_model: bool = False,
        constraint: Constraint | None = None,
    ) -> Generation:
        """Queue a request and return at once.

        Args:
            token_ids: The text, at least one token.
            soft_prompt: What stands before the text; ``None`` for the bare frozen model.
            settings: How to generate.
            allow_other_model: Take a soft prompt that was made for another model, if its shapes fit.
            constraint: What the answer may be, for instance `sampling.Choices`; ``None`` for anything.

        Raises:
            RequestError: There are no tokens, or ids the model does not know, or an argument is of another type.
            ContextLengthError: Soft prompt, text and answer do not fit the model's context, or the engine's limits.
            EngineBusyError: The queue is full.
            EngineClosedError: The engine was closed, or belongs to a parent process.
        """
        settings = settings or GenerationSettings()
        _check_types(soft_prompt, settings)
        ids = self._checked_ids(token_ids)
        virtual_tokens = soft_prompt.num_virtual_tokens if soft_prompt is not None else 0
        self._check_length(virtual_tokens, len(ids), settings.max_new_tokens)
        self._budget.check_alone(virtual_tokens + len(ids) + settings.max_new_tokens)
        generation = Generation(prompt_tokens=len(ids), virtual_tokens=virtual_tokens)
        stop_ids = frozenset(self._model.eos_token_ids) | frozenset(settings.stop_token_ids)
        request = Request(ids, soft_prompt, allow_other_model, settings, stop_ids, generation, constraint)
        generation.on_cancel = partial(self._withdraw, request)
        self._worker.submit(request)
        return generation

    def score(
        self,
        token_ids: Sequence[int],
        continuations: Iterable[Sequence[int]],
        *,
        soft_prompt: SoftPrompt | None = None,
        allow_other_model: bool = False,
    ) -> Scoring:
        """Queue a request for the log-probabilities of given continuations of a prompt, and return at once.

        The prompt is read once, and beginnings that continuations share are too; hundreds of them are one request. They are
        read between the steps of other requests, `EngineLimits.prefill_chunk` positions at a time.

        Args:
            token_ids: The text, at least one token.
            continuations: What may follow it, each at least one token, ended by an end-of-sequence token where that is to
                count. Equal ones are read once and get the same scores.
            soft_prompt: What stands before the text; ``None`` for the bare frozen model.
            allow_other_model: Take a soft prompt that was made for another model, if its shapes fit.

        Returns:
            The handle; its `result` holds a log-probability for each token of each continuation.

        Raises:
            RequestError: There are no tokens or no continuations, one is empty, or there are ids the model does not know.
            ContextLengthError: Soft prompt, text and the longest continuation do not fit the model's context, or the engine's
                limits.
            EngineBusyError: The queue is full.
            EngineClosedError: The engine was closed, or belongs to a parent process.
        """
        settings = GenerationSettings()
        _check_types(soft_prompt, settings)
        ids, tree = self._checked_ids(token_ids), self._checked_tree(continuations)
        scoring = Scoring(prompt_tokens=len(ids), virtual_tokens=soft_prompt.num_virtual_tokens if soft_prompt is not None else 0)
        self._check_length(scoring.virtual_tokens, len(ids), tree.longest, "tokens of the longest continuation")
        slotted = self._model.reuses_prefix
        spare = min(len(tree.inner), tree.longest + self._limits.prefill_chunk) if slotted else tree.longest
        rows = 1 if slotted else 2  # A native cache can't be taken back, so branches are read on a copy of the prompt's.
        request = Request(ids, soft_prompt, allow_other_model, settings, frozenset(), scoring, tree=tree, spare=spare, rows=rows)
        self._budget.check_alone(request.size, rows)
        scoring.on_cancel = partial(self._withdraw, request)
        self._worker.submit(request)
        return scoring

    def stream(
        self,
        token_ids: Sequence[int],
        *,
        soft_prompt: SoftPrompt | None = None,
        settings: GenerationSettings | None = None,
        allow_other_model: bool = False,
        constraint: Constraint | None = None,
    ) -> TokenStream:
        """Queue a request and return an iterator over its tokens; closing or dropping the iterator cancels it.

        Arguments and errors are those of `submit`.
        """
        return TokenStream(
            self.submit(token_ids, soft_prompt=soft_prompt, settings=settings, allow_other_model=allow_other_model, constraint=constraint)
        )

    def cancel(self, generation: Generation | Scoring) -> None:
        """End a request; nothing happens when it has ended."""
        generation.cancel()

    def close(self) -> None:
        """Cancel everything, refuse further requests and wait for the thread to end. The model itself stays loaded."""
        self._worker.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Engine({self._model!r}, {'closed' if self.closed else self.load})"

    def _withdraw(self, request: Request) -> None:
        self._worker.withdraw(request)

    def _checked_ids(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        try:
            ids = tuple(operator.index(token) for token in token_ids)
        except TypeError as error:
            msg = f"Token ids must be integers: {error}. Pass a flat list of ids, as a tokenizer's encode() returns it."
            raise RequestError(msg) from error
        if not ids:
            msg = "The request has no tokens. Give at least one, for instance the model's beginning-of-sequence token."
            raise RequestError(msg)
        size = self._model.vocab_size
        if min(ids) < 0 or max(ids) >= size:
            unknown = next(token for token in ids if not 0 <= token < size)
            msg = f"{self._model.name} does not know token id {unknown}: its ids go from 0 to {size - 1}. Use this model's own tokenizer."
            raise RequestError(msg)
        return ids

    def _checked_tree(self, continuations: Iterable[Sequence[int]]) -> TokenTree:
        given = list(continuations)
        if not given:
            msg = "There are no continuations to score. Give at least one, as token ids."
            raise RequestError(msg)
        for number, continuation in enumerate(given):
            try:
                given[number] = self._checked_ids(continuation)
            except (RequestError, TypeError) as error:
                msg = f"Continuation {number}: {error}"
                raise RequestError(msg) from error
        return TokenTree(given)

    def _check_length(self, virtual_tokens: int, prompt_tokens: int, new_tokens: int, what: str = "new tokens") -> None:
        window = self._model.max_positions
        needed = virtual_tokens + prompt_tokens + new_tokens
        if window is None or needed <= window:
            return
        room = window - virtual_tokens - prompt_tokens
        advice = f"Lower max_new_tokens to {room}" if room > 0 and what == "new tokens" else "Shorten the text"
        msg = (
            f"{virtual_tokens} virtual tokens + {prompt_tokens} prompt tokens + {new_tokens} {what} = {needed}, "
            f"but the context of {self._model.name} holds {window}. {advice}."
        )
        raise ContextLengthError(msg)


def _check_types(soft_prompt: object, settings: object) -> None:
    if soft_prompt is not None and not isinstance(soft_prompt, SoftPrompt):
        msg = f"soft_prompt: expected a SoftPrompt or None, found {type(soft_prompt).__name__}. Load it first: SoftPrompt.load(folder)."
        raise RequestError(msg)
    if not isinstance(settings, GenerationSettings):
        msg = f"settings: expected GenerationSettings, found {type(settings).__name__}."
        raise RequestError(msg)


__all__ = ["Engine", "EngineLoad"]
