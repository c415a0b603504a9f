"""Worker: the one thread that touches the model."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from langchain_softprompt.decode import RowStore, TokenTree, new_row_store
from langchain_softprompt.engine.handle import FORKED, FinishReason
from langchain_softprompt.engine.memory import RowBudget
from langchain_softprompt.engine.reading import Reader
from langchain_softprompt.engine.request import Request
from langchain_softprompt.engine.scoring import Scoring
from langchain_softprompt.errors import EngineClosedError, RequestFailedError, SoftPromptError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.sampling import TokenLogprob, pick_all, token_logprobs
from langchain_softprompt.scheduler import Scheduler
from langchain_softprompt.settings import EngineLimits

logger = logging.getLogger(__name__)


class Worker:
    """Runs requests until it is stopped: schedule, prefill some, decode all rows one step, postprocess.

    One lock guards the scheduler and the stop flag; prefixes and rows belong to the thread alone. The lock of a
    `Generation` is never taken while this one is held.
    """

    def __init__(self, model: FrozenModel, limits: EngineLimits, budget: RowBudget) -> None:
        self._chunk = limits.prefill_chunk
        self._budget = budget
        self._reader = Reader(model, limits.prefix_cache_bytes)
        self._rows: RowStore = new_row_store(model, limits.max_rows, budget.max_columns)
        self._reading: dict[Request, None] = {}  # a set that keeps its order
        self._decoding: dict[int, Request] = {}
        self._scheduler: Scheduler[Request] = Scheduler(
            max_rows=limits.max_rows,
            max_queue=limits.max_queue,
            size=lambda request: request.size,
            rows=lambda request: request.rows,
            fits=budget.fits,
        )
        self._wake = threading.Condition()
        self._stopped = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name=f"softprompt-engine {model.name}", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """Whether it takes no more requests."""
        return self._stopped

    def load(self) -> tuple[int, int]:
        """How many requests run, and how many wait."""
        with self._wake:
            return len(self._scheduler.running), len(self._scheduler.waiting)

    def submit(self, request: Request) -> None:
        """Queue a request.

        Raises:
            EngineBusyError: The queue is full.
            EngineClosedError: The worker was stopped, or belongs to a parent process.
        """
        if os.getpid() != self._process:  # Before the lock, which may have been held at the fork.
            raise EngineClosedError(FORKED)
        with self._wake:
            if self._stopped:
                msg = "The engine was closed. Build a new one."
                raise EngineClosedError(msg)
            self._scheduler.submit(request)
            self._wake.notify()

    def withdraw(self, request: Request) -> None:
        """Take a cancelled request out of the queue; one that runs is dropped by the thread before its next step."""
        with self._wake:
            self._scheduler.withdraw(request)

    def stop(self, timeout: float | None = None) -> None:
        """Refuse further requests, cancel all there are, and wait for the thread to end."""
        if os.getpid() != self._process:
            return
        with self._wake:
            self._stopped = True
            cancelled = self._scheduler.clear()
            self._wake.notify()
        for request in cancelled:
            request.handle.end("cancelled")
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._schedule():
                    self._drop_unwanted()
                    self._prefill()
                    self._decode()
        except BaseException as error:  # noqa: BLE001 - nobody may wait for a thread that is gone.
            self._abort(error)
        finally:
            self._reading.clear()
            self._decoding.clear()
            self._rows.clear()
            self._reader.clear()

    def _schedule(self) -> bool:
        """Sleep until there is something to do and admit what there is room for; False once stopped."""
        with self._wake:
            self._wake.wait_for(lambda: self._stopped or len(self._scheduler) > 0)
            if self._stopped:
                return False
            self._reading.update(dict.fromkeys(self._scheduler.admit()))
            return True

    def _drop_unwanted(self) -> None:
        """Let those that nobody waits for any more give up their rows."""
        with self._wake:
            running = self._scheduler.running
        for request in running:
            if request.unwanted:
                self._finish(request, "cancelled")

    def _prefill(self) -> None:
        """Read on in the prompts and in what is to be scored after them, first come first served.

        No more than a chunk, as the rows that decode wait meanwhile.
        """
        if not self._reading:
            return
        for request, outcome in self._reader.advance(tuple(self._reading), self._chunk, self._room()):
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                if request.tree is not None:
                    self._score(request, request.tree, outcome)
                    continue
                beside = sum(other.columns for other in self._reading)
                self._reader.hand_over(request, outcome, self._rows, beside)
                del self._reading[request]
                self._decoding[request.row] = request
                token = request.sampler.pick(outcome)
                self._take(request, token, _logprobs([request], [token], outcome[None]).get(0))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's alone.
                self._fail(request, error)

    def _score(self, request: Request, tree: TokenTree, outcome: Tensor) -> None:
        """The prompt of a request for scores has been read, or its continuations have."""
        if request.continuing is None:
            outcome = self._reader.branch_out(request, tree, outcome).log_probs
        if isinstance(request.handle, Scoring) and request.continuing is not None and not request.continuing.remaining:
            request.handle.complete(tree.by_continuation(outcome.tolist()))
            self._finish(request, "stop")

    def _room(self) -> int | None:
        """Columns that prompts may be read in; ``None`` where nothing is counted in columns."""
        with self._wake:
            running = self._scheduler.running
        longest = max((request.size for request in running), default=0)
        room = self._budget.room(len(running), longest, self._rows.columns)
        if room is not None and room < longest:
            with suppress(Exception):  # without the memory to move rows they stay where they are
                self._rows.trim()
            room = self._budget.room(len(running), longest, self._rows.columns)
        return room

    def _decode(self) -> None:
        """Let every row read its last token, all in one step."""
        going_on = list(self._decoding.values())
        if not going_on:
            return
        try:
            outcome = self._rows.step({request.row: request.last_token for request in going_on})
        except Exception as error:  # noqa: BLE001 - later requests must still be served.
            self._rows.clear()
            for request in going_on:
                self._fail(request, error)
            return
        for row, failure in outcome.failed.items():
            self._fail(self._decoding[row], failure)
        for rows, logits in outcome.answered:
            requests = [self._decoding[row] for row in rows]
            picked = pick_all([request.sampler for request in requests], logits)
            logprobs = _logprobs(requests, picked, logits)
            for place, (request, token) in enumerate(zip(requests, picked, strict=True)):
                try:
                    if isinstance(token, Exception):
                        raise token
                    self._take(request, token, logprobs.get(place))
                except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's alone.
                    self._fail(request, error)

    def _take(self, request: Request, token: int, logprob: TokenLogprob | Exception | None) -> None:
        """Hand out a token, and see whether the request ends here."""
        if token in request.stop_ids:
            self._complete(request, "stop")
            return
        if isinstance(logprob, Exception):
            raise logprob
        request.last_token = token
        count = request.generation.push(token, logprob)
        if request.sampler.complete:
            self._complete(request, "stop")
        elif count >= request.settings.max_new_tokens:
            self._complete(request, "length")

    def _complete(self, request: Request, ending: FinishReason) -> None:
        self._reader.keep_answer(request, request.generation.tokens, self._rows)
        self._finish(request, ending)

    def _fail(self, request: Request, error: Exception) -> None:
        self._finish(request, _failure(error))

    def _finish(self, request: Request, ending: FinishReason | Exception) -> None:
        """Free the row, then tell the readers."""
        self._reading.pop(request, None)
        request.prefill = request.continuing = request.soft = None
        self._decoding.pop(request.row, None)
        self._rows.remove(request.row)
        with self._wake:
            self._scheduler.finish(request)
        request.handle.end(ending)

    def _abort(self, error: BaseException) -> None:
        logger.error("The engine's thread failed and the engine is closed.", exc_info=error)
        with self._wake:
            self._stopped = True
            failed = self._scheduler.clear()
        for request in failed:
            request.handle.end(_failure(error))


def _logprobs(requests: Sequence[Request], picked: Sequence[int | Exception], logits: Tensor) -> dict[int, TokenLogprob | Exception]:
    """Log-probabilities of what was picked, by place, for the rows that ask for them."""
    asked = {
        place: (token, request.settings.top_logprobs)
        for place, (request, token) in enumerate(zip(requests, picked, strict=True))
        if request.settings.top_logprobs is not None and not isinstance(token, Exception)
    }
    if not asked:
        return {}
    try:
        tokens, counts = zip(*asked.values(), strict=True)
        return dict(zip(asked, token_logprobs(logits[list(asked)], tokens, counts), strict=True))
    except Exception as error:  # noqa: BLE001 - out of memory, say; the rows that did not ask go on.
        return dict.fromkeys(asked, error)


def _failure(error: BaseException) -> SoftPromptError:
    _drop_frames(error)
    if isinstance(error, SoftPromptError):
        return error
    failure = RequestFailedError(f"The model failed while serving this request: {type(error).__name__}: {_text(error)}")
    failure.__cause__ = error
    return failure


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an error that can't speak must not take the engine with it.
        return "(it has no text)"


def _drop_frames(error: BaseException) -> None:
    """Keep the traceback as text only: its frames would hold on to tensors for as long as the caller keeps the error."""
    if error.__traceback__ is None:
        return
    if not isinstance(error, SoftPromptError):  # Those speak for themselves.
        error.add_note("In the engine's thread:\n" + "".join(traceback.format_exception(error)))
    left, seen = [error], {id(error)}  # An error may be its own cause.
    while left:
        link = left.pop()
        link.__traceback__ = None
        for other in (link.__cause__, link.__context__):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                left.append(other)


__all__ = ["Worker"]
