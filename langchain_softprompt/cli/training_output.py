"""What train and distill show: the plan, a bar with live numbers, and the result."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.table import Table

from langchain_softprompt.cli.output import people, progress_bar, say, show_json

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from langchain_softprompt.frozen_model import FrozenModel
    from langchain_softprompt.soft_prompt import SoftPrompt
    from langchain_softprompt.training import CrossValidation, Plan, StepReport


class Screen:
    """A watcher of runs that shows them to people; silent bars where stderr is no terminal, lines all the same."""

    def __init__(self, model: FrozenModel, bar: Progress | None = None, *, exact: str = "exact match") -> None:
        self._model = model
        self._exact = exact  # what it means that an answer is the expected one
        self._bar = bar or progress_bar()
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_plan(self, plan: Plan) -> None:
        """One line: what will be done, how long it will take and how much memory."""
        memory = f", {plan.memory_bytes / 1e9:.1f} GB of memory" if plan.memory_bytes else ""
        sweep = f" after {plan.sweep_steps} to find the learning rate" if plan.sweep_steps else ""
        say(
            f"Plan: {plan.rows} rows to learn from, {plan.validation_rows} to choose the best step on; {plan.virtual_tokens} "
            f"virtual tokens ({plan.parameters:,} numbers); {plan.steps} steps{sweep}; {plan.tokens:,} tokens; "
            f"about {_time(plan.seconds)}{memory}; on {self._model!r}"
        )
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task("training", total=plan.steps, numbers="")

    def on_rate(self, rate: float, loss: float) -> None:
        """A learning rate was tried."""
        say(f"learning rate {rate:g}: validation loss {loss:.4f} after a few steps")

    def on_step(self, report: StepReport) -> None:
        """Live numbers; a line at each look."""
        numbers = f"loss {report.loss:.3f}  {report.tokens / max(report.seconds, 1e-9):.0f} tokens/s"
        if self._task is not None:
            self._bar.update(self._task, completed=report.step, numbers=numbers)
        if report.validation_loss is not None:
            mark = "  (best so far)" if report.best else ""
            exact = f", {self._exact} {report.validation_exact_match:.1%}" if report.validation_exact_match is not None else ""
            say(f"step {report.step}: loss {report.loss:.4f}, validation loss {report.validation_loss:.4f}{exact}{mark}")


def tell_folds(found: CrossValidation) -> None:
    """What cross-validation says, fold by fold."""
    table = Table(title=f"{len(found.folds)} folds: each judged by a soft prompt that never saw it", title_justify="left")
    for column in ("fold", "rows", "exact match before", "exact match", "loss", "best step"):
        table.add_column(column, justify="right")
    for number, fold in enumerate(found.folds, start=1):
        table.add_row(
            str(number),
            str(fold.rows),
            f"{fold.initial_exact_match:.1%}",
            f"{fold.exact_match:.1%}",
            f"{fold.loss:.4f}",
            str(fold.best_step),
        )
    people.print(table)
    say(
        f"Expect about {found.exact_match:.1%} exact answers on new rows (standard error {found.standard_error:.1%}). "
        f"Now training on all rows for {found.steps} steps."
    )


def tell_stopped(command: str, output: Path, soft_prompt: SoftPrompt) -> None:
    """That a run was stopped before its end, and how to go on with it."""
    done = soft_prompt.manifest.training.get("steps_done") if soft_prompt.manifest else None
    say(f"Stopped at step {done}. Go on with it: langchain-softprompt {command} --resume --output {output}")


def tell_result(output: Path, soft_prompt: SoftPrompt, *, as_json: bool, interrupted: bool) -> None:
    """The result, for people or machines."""
    best = output / "best"
    size = sum(file.stat().st_size for file in best.iterdir() if file.is_file())
    manifest = soft_prompt.manifest
    scores = manifest.scores if manifest else {}
    training = manifest.training if manifest else {}
    if as_json:
        facts = {"output": str(output), "soft_prompt": str(best), "virtual_tokens": soft_prompt.num_virtual_tokens, "bytes": size}
        folds = {name: value for name, value in training.items() if name.startswith("fold")}
        show_json({**facts, "finished": not interrupted, "best_step": training.get("best_step"), **scores, **folds})
        return
    if interrupted:
        tell_stopped("train", output, soft_prompt)
    said = f"Saved {best}: {soft_prompt.num_virtual_tokens} virtual tokens, {size / 1024:.0f} KiB, best step {training.get('best_step')}"
    if scores:
        said += (
            f"; on the validation rows loss {scores['initial_validation_loss']:.3f} -> {scores['validation_loss']:.3f}, "
            f"exact match {scores['initial_validation_exact_match']:.1%} -> {scores['validation_exact_match']:.1%}"
        )
    say(said)


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 60 else f"{seconds:.0f} s"


__all__ = ["Screen", "tell_folds", "tell_result", "tell_stopped"]
