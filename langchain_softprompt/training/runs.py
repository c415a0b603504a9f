"""A run from its first step, or from where it stands, to its soft prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from langchain_softprompt.data import Example
from langchain_softprompt.errors import NonFiniteSoftPromptError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.training.learners import Learner
from langchain_softprompt.training.loop import Look, StepReport, TrainingLoop, load, look_at
from langchain_softprompt.training.objectives import Objective
from langchain_softprompt.training.plan import Plan, make_plan
from langchain_softprompt.training.report import run_report
from langchain_softprompt.training.run_folder import RunFolder
from langchain_softprompt.training.state import TrainingState
from langchain_softprompt.training.sweep import find_learning_rate


class Watcher(Protocol):
    """Who wants to know how a run goes."""

    def on_plan(self, plan: Plan) -> None:
        """Before the first step of a run, or before going on with one."""

    def on_rate(self, rate: float, loss: float) -> None:
        """A learning rate was tried; `loss` is the validation loss it came to."""

    def on_step(self, report: StepReport) -> None:
        """A step was taken."""


class Nobody:
    """A watcher who does not look."""

    def on_plan(self, plan: Plan) -> None:
        """As `Watcher.on_plan`."""

    def on_rate(self, rate: float, loss: float) -> None:
        """As `Watcher.on_rate`."""

    def on_step(self, report: StepReport) -> None:
        """As `Watcher.on_step`."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a run came to.

    Attributes:
        best: The soft prompt at its best step.
        last: The soft prompt after the last step; ``None`` where its numbers overflow.
    """

    best: SoftPrompt
    last: SoftPrompt | None


@dataclass(slots=True)
class Run:
    """What a run works with.

    Attributes:
        model: The frozen model.
        new_learner: Makes what is learned, as it is before the first step.
        objective: What is made smaller.
        validation: Rows to choose the best step on.
        settings: How to train.
        finish: Completes a soft prompt (a manifest, say) before it is written or given back.
        folder: Where it is written; ``None`` keeps it in memory.
        watcher: Who wants to know.
        state: Where it stands.
    """

    model: FrozenModel
    new_learner: Callable[[], Learner]
    objective: Objective
    validation: Sequence[Example]
    settings: TrainingSettings
    finish: Callable[[SoftPrompt, Run], SoftPrompt]
    folder: RunFolder | None = None
    watcher: Watcher = field(default_factory=Nobody)
    state: TrainingState = field(default_factory=TrainingState)

    def execute(self) -> Made:
        """Train; Ctrl-C ends the run early with what it has.

        Raises:
            FrozenModelError: The loss is not a number.
        """
        if self.folder is not None:
            self.state = self.folder.state() or self.state
            self.folder.cut_log(self.state.step)
        learner = self.new_learner()
        if self.folder is not None and not self.state.step:
            self.folder.save_soft_prompt("initial", learner.soft_prompt())
        loop = TrainingLoop(self.model, learner, self.objective, self.validation, self.settings, self.state)
        try:
            self._announce(loop)
            if not self.state.tensors:
                loop.start()
            self._find_rate()
            loop.run(self._after_step)
        except KeyboardInterrupt:
            if not self.state.tensors:  # Before there is anything to keep.
                raise
        self._save_state()
        return self._finished(learner)

    def _announce(self, loop: TrainingLoop) -> None:
        if getattr(type(self.watcher), "on_plan", None) is Nobody.on_plan:  # It costs two steps, so not for nobody.
            return
        watched = [len(example) for example in self.validation[: self.settings.validation_rows]]
        lengths = [len(example) for example in self.objective.examples]
        self.watcher.on_plan(make_plan(loop, lengths, watched, sweeps=not self.state.learning_rate and self.settings.learning_rate is None))

    def _find_rate(self) -> None:
        state = self.state
        if state.learning_rate:
            return
        if self.settings.learning_rate is not None:
            state.learning_rate = self.settings.learning_rate
            return

        def on_rate(rate: float, loss: float) -> None:
            self._save_state()
            self.watcher.on_rate(rate, loss)

        state.learning_rate = find_learning_rate(
            self.model, self.new_learner, self.objective, self.validation, self.settings, state.tried, on_rate
        )

    def _after_step(self, report: StepReport) -> None:
        if self.folder is not None:
            entry = {name: getattr(report, name) for name in StepReport.__slots__}
            self.folder.log({name: value for name, value in entry.items() if value is not None})
            if report.step % self.settings.save_every == 0 or report.best:
                self._save_state()
        self.watcher.on_step(report)

    def _save_state(self) -> None:
        if self.folder is not None:
            self.folder.save_state(self.state)

    def _finished(self, learner: Learner) -> Made:
        best = self._stored(learner, "best")
        last: SoftPrompt | None = best
        if not self.state.same("parameter", "best"):
            try:
                last = self._stored(learner, "parameter")
            except NonFiniteSoftPromptError:  # It went astray after its best step, which must not be lost for that.
                last = None
        if self.folder is not None:
            self.folder.save_soft_prompt("best", best)
            if last is not None:
                self.folder.save_soft_prompt("last", last)
        self.write_report(best)
        return Made(best, last)

    def write_report(self, best: SoftPrompt, measured: Mapping[str, float] | None = None) -> None:
        """Write the run's page; once more where something was measured after the run."""
        if self.folder is not None:
            page = run_report(best, self.folder.entries(), finished=self.state.finished, measured=measured)
            page.write(self.folder.path / "report.html")

    def _stored(self, learner: Learner, kind: str) -> SoftPrompt:
        load(learner, self.state, kind)
        return self.finish(learner.soft_prompt(), self)

    def stored_look(self, soft_prompt: SoftPrompt) -> Look:
        """Validation loss and exact match of a soft prompt as it is stored and served, rounding and all."""
        watched = self.validation[: self.settings.validation_rows]
        if not watched:
            return Look(*self.state.best)
        return look_at(self.model, compile_prefix(self.model, soft_prompt), watched, self.settings.batch_size)


__all__ = ["Made", "Nobody", "Run", "Watcher"]
