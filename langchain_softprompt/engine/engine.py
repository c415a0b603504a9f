"""Engine: submit / stream / cancel / close. Token ids in, token ids out."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from langchain_softprompt.decode import TokenTree
from langchain_softprompt.engine.checking import check_length, check_types, checked_continuations, checked_ids
from langchain_softprompt.engine.generation import Generation, TokenStream
from langchain_softprompt.engine.memory import RowBudget
from langchain_softprompt.engine.request import Request
from langchain_softprompt.engine.scoring import Scoring
from langchain_softprompt.engine.worker import Worker
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
        check_types(soft_prompt, settings)
        ids = checked_ids(self._model, token_ids)
        virtual_tokens = soft_prompt.num_virtual_tokens if soft_prompt is not None else 0
        check_length(self._model, virtual_tokens, len(ids), settings.max_new_tokens)
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
        check_types(soft_prompt, settings)
        ids, tree = checked_ids(self._model, token_ids), TokenTree(checked_continuations(self._model, continuations))
        scoring = Scoring(prompt_tokens=len(ids), virtual_tokens=soft_prompt.num_virtual_tokens if soft_prompt is not None else 0)
        check_length(self._model, scoring.virtual_tokens, len(ids), tree.longest, "tokens of the longest continuation")
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


__all__ = ["Engine", "EngineLoad"]
