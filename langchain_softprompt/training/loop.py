"""The optimisation: steps, looks at the validation rows, the best step kept, a state that can be gone on from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from langchain_softprompt.data import Example
from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.likelihood import score_completions
from langchain_softprompt.prefix import KVPrefix
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.training.batches import batches
from langchain_softprompt.training.learners import Learner
from langchain_softprompt.training.objectives import Objective
from langchain_softprompt.training.state import TrainingState


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a training step says of itself.

    Attributes:
        step: Steps done, from 1.
        steps: Steps planned.
        loss: Mean loss per completion token in this step's batch, natural log.
        learning_rate: What the step was taken with.
        validation_loss: The same loss over the validation rows, when they were looked at in this step.
        validation_exact_match: The share of them whose answer greedy decoding would write exactly.
        best: Whether that was the best so far.
        seconds: Time since the start.
        tokens: Text and completion tokens read since the start.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    validation_loss: float | None
    validation_exact_match: float | None
    best: bool
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Look:
    """A look at the validation rows.

    Attributes:
        loss: Mean loss per completion token, natural log.
        exact_match: Share of rows whose answer greedy decoding would write exactly.
    """

    loss: float
    exact_match: float

    def beats(self, other: Look, select_by: str) -> bool:
        """Whether it is better."""
        if select_by == "loss" or self.exact_match == other.exact_match:
            return self.loss < other.loss
        return self.exact_match > other.exact_match


class TrainingLoop:
    """Trains a learner in front of a frozen model.

    The state after a step says all there is to say: who goes on from it, in this process or another, gets the same
    tensors as who never stopped.

    Args:
        model: The frozen model.
        learner: What is learned.
        objective: What is made smaller.
        validation: Rows to choose the best step on; with none, the last step counts as the best.
        settings: How to train.
        state: Where to go on from; a new one starts.
    """

    def __init__(
        self,
        model: FrozenModel,
        learner: Learner,
        objective: Objective,
        validation: Sequence[Example],
        settings: TrainingSettings,
        state: TrainingState,
    ) -> None:
        self.model = model
        self.learner = learner
        self.settings = settings
        self.state = state
        self.steps = settings.steps_for(len(objective.examples))
        self._every = settings.looks_every(self.steps)
        self._objective = objective
        self._watched = list(validation)[: settings.validation_rows]
        self._optimizer = torch.optim.AdamW(learner.parameters.values(), lr=state.learning_rate, weight_decay=0.0)
        if state.step:
            self._go_on_from(state)

    @property
    def examples(self) -> Sequence[Example]:
        """What is learned from."""
        return self._objective.examples

    def start(self) -> None:
        """Look at the validation rows before the first step.

        Raises:
            FrozenModelError: The loss is not a number before any training.
        """
        look = self.look() if self._watched else Look(0.0, 0.0)
        if not math.isfinite(look.loss):
            dtype = str(self.model.dtype).removeprefix("torch.")
            msg = f"{self.model.name} gives a loss of {look.loss} in {dtype} before any training. Load it with dtype='float32'."
            raise FrozenModelError(msg)
        state = self.state
        state.initial = state.best = (look.loss, look.exact_match)
        state.keep("best", dict(self.learner.parameters))
        self._keep()

    def run(self, on_step: Callable[[StepReport], None] | None = None, *, until: int | None = None) -> None:
        """Take steps up to the last one, or to another; Ctrl-C, too, leaves the state as the last whole step left it."""
        state = self.state
        last = min(self.steps, until or self.steps)
        order = batches(self._objective.examples, self.settings.batch_size, self.settings.seed, done=state.step)
        while state.step < last and not state.finished:
            began = time.perf_counter()
            rows = next(order)
            loss, rate = self._step(rows)
            step = state.step + 1
            look = self.look() if self._watched and (step % self._every == 0 or step == self.steps) else None
            self._commit(rows, loss, look, time.perf_counter() - began)
            if on_step:
                on_step(self._report(loss, rate, look))
        if state.step == self.steps and not state.finished:
            state.finished = "all steps done"

    def look(self) -> Look:
        """Look at the validation rows."""
        with torch.no_grad():
            return look_at(self.model, self.learner.prefix(), self._watched, self.settings.batch_size)

    def loss(self, rows: Sequence[int], prefix: KVPrefix | None = None) -> torch.Tensor:
        """Loss of some examples, with gradients."""
        return self._objective.loss(prefix or self.learner.prefix(), rows)

    def _step(self, rows: Sequence[int]) -> tuple[float, float]:
        rate = self._rate(self.state.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learner.parameters.values(), self.settings.clip_norm)
        with _uninterrupted():
            self._optimizer.step()
            self._optimizer.zero_grad()
        return loss.item(), rate

    def _rate(self, done: int) -> float:
        """Linear warm-up, then half a cosine to 0."""
        warm = int(self.steps * self.settings.warmup_share)
        if done < warm:
            return self.state.learning_rate * (done + 1) / warm
        return self.state.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - warm) / max(1, self.steps - warm)))

    def _commit(self, rows: Sequence[int], loss: float, look: Look | None, seconds: float) -> None:
        with _uninterrupted():
            state = self.state
            state.step += 1
            state.tokens += sum(len(self._objective.examples[row]) for row in rows)
            state.seconds += seconds
            state.losses.append(loss)
            self._keep()
            if not self._watched:
                state.best_step = state.step
                state.keep("best", dict(self.learner.parameters))
            if look is None:
                return
            if look.beats(Look(*state.best), self.settings.select_by):
                state.best_step, state.best, state.looks_since_best = state.step, (look.loss, look.exact_match), 0
                state.keep("best", dict(self.learner.parameters))
            else:
                state.looks_since_best += 1
                if self.settings.patience is not None and state.looks_since_best >= self.settings.patience:
                    state.finished = f"no better step in {state.looks_since_best} looks"

    def _keep(self) -> None:
        parameters = self.learner.parameters
        self.state.keep("parameter", dict(parameters))
        moments = {name: self._optimizer.state[parameter] for name, parameter in parameters.items() if self._optimizer.state[parameter]}
        self.state.keep("moment", {name: held["exp_avg"] for name, held in moments.items()})
        self.state.keep("square", {name: held["exp_avg_sq"] for name, held in moments.items()})

    def _go_on_from(self, state: TrainingState) -> None:
        load(self.learner, state, "parameter")
        moments, squares = state.part("moment"), state.part("square")
        for name, parameter in self.learner.parameters.items():
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": moments[name].to(parameter.device).clone(),
                "exp_avg_sq": squares[name].to(parameter.device).clone(),
            }

    def _report(self, loss: float, rate: float, look: Look | None) -> StepReport:
        state = self.state
        return StepReport(
            step=state.step,
            steps=self.steps,
            loss=loss,
            learning_rate=rate,
            validation_loss=look.loss if look else None,
            validation_exact_match=look.exact_match if look else None,
            best=look is not None and state.best_step == state.step,
            seconds=state.seconds,
            tokens=state.tokens,
        )


def look_at(model: FrozenModel, prefix: KVPrefix, rows: Sequence[Example], batch_size: int) -> Look:
    """Look at some rows with some prefix."""
    scores = score_completions(model, prefix, rows, batch_size=batch_size)
    tokens = sum(len(score.log_probs) for score in scores)
    exact = sum(score.is_greedy for score in scores)
    return Look(-math.fsum(score.total for score in scores) / max(tokens, 1), exact / max(len(scores), 1))


def load(learner: Learner, state: TrainingState, kind: str) -> None:
    """Put tensors of a state into a learner: ``"parameter"`` for the last step, ``"best"`` for the best."""
    held = state.part(kind)
    with torch.no_grad():
        for name, parameter in learner.parameters.items():
            parameter.copy_(held[name])


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of what must not be left half done; only the main thread is ever interrupted."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            before(pressed[0], None)


__all__ = ["Look", "StepReport", "TrainingLoop", "load", "look_at"]
