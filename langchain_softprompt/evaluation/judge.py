"""evaluate(): arms and rows in, an Evaluation out."""

from __future__ import annotations

import datetime
import platform
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import transformers

from langchain_softprompt import __version__
from langchain_softprompt.data import digest_rows
from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.evaluation import findings
from langchain_softprompt.evaluation.arms import Arm
from langchain_softprompt.evaluation.evaluation import Evaluation
from langchain_softprompt.evaluation.extras import need
from langchain_softprompt.evaluation.knowledge import BareModel
from langchain_softprompt.evaluation.metrics import Metric, Task, choose_metrics, guess_task
from langchain_softprompt.evaluation.metrics.functions import RowFunction
from langchain_softprompt.evaluation.options import EvaluationOptions
from langchain_softprompt.evaluation.results import MetricFacts, Scalar
from langchain_softprompt.evaluation.training_rows import notes_on_training_rows
from langchain_softprompt.evaluation.trial import OnProgress, Rows, Trial
from langchain_softprompt.frozen_model import FrozenModel

_FEWEST_GAP_ROWS = 50


def evaluate(
    model: FrozenModel,
    arms: Sequence[Arm],
    rows: Rows,
    *,
    target: str,
    metrics: Sequence[str | RowFunction | Metric] = (),
    labels: Sequence[str] | None = None,
    train_rows: Rows = (),
    options: EvaluationOptions | None = None,
    source: str = "",
    left_out: Mapping[str, str] | None = None,
    facts: Mapping[str, Scalar] | None = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Judge soft prompts beside their baselines on the same rows, through the engine that serves them.

    Args:
        model: The frozen model.
        arms: What is judged: soft prompts first, then baselines; see `arms`.
        rows: Rows that none of the soft prompts was trained on, and no step or setting was chosen on.
        target: The field that holds the wanted answer.
        metrics: Names of metrics, or functions from a row and an answer to a number; by default those for the kind of answers.
            The first one decides in verdicts.
        labels: What answers there are, where they are labels; by default those in `rows` and `train_rows`.
        train_rows: Rows the soft prompts were trained on, for the over-fitting gap.
        options: How to go about it.
        source: Where the rows came from.
        left_out: Baselines that are not among the arms, and why.
        facts: More to write down with the settings.
        on_progress: Told what is done, how much of it, and of how much.

    Returns:
        Scores with intervals, comparisons, confusions, worst cases, over-fitting, retained knowledge.

    Raises:
        EvaluationError: There are no arms, two of one name, no rows, an unknown metric, or labels that don't fit.
        TrainingDataError: A row lacks a field.
        SoftPromptError: A soft prompt can't be served on this model at all.
        MissingExtraError: The extra ``eval`` is not installed.
    """
    began = time.perf_counter()
    for module in ("scipy.stats", "sklearn.metrics", "sacrebleu"):  # before any work is done
        need(module)
    options = options or EvaluationOptions()
    _check(arms, rows)
    plan = _plan(rows, train_rows, target, metrics, labels, options)
    trial = Trial(model, target, plan.modes, plan.labels, options, on_progress or (lambda *_: None))
    soft = [arm for arm in arms if arm.soft_prompt is not None and arm.kind == "soft prompt"]
    bare = BareModel.look(model) if options.knowledge and soft else None
    seen = _sample(train_rows, min(options.gap_rows, max(len(rows), _FEWEST_GAP_ROWS)), options.seed)
    seats = [(arm, rows) for arm in arms] + [(arm, seen) for arm in soft if seen and not arm.folds]
    seats += [(arm.seen(), rows) for arm in soft if len(arm.folds) > 1]
    sittings = trial.run(seats)
    asked, again = sittings[: len(arms)], sittings[len(arms) :]
    scored = [findings.score(sitting, plan.metrics, plan.mode_of, target, options) for sitting in asked]
    on_seen = [findings.score(sitting, plan.metrics, plan.mode_of, target, options) for sitting in again]
    knowledge = [
        bare.beside(model, arm.name, arm.soft_prompt, allow_other_model=options.allow_other_model)
        for arm in soft
        if bare is not None and arm.soft_prompt is not None
    ]
    return Evaluation(
        task=plan.task,
        target=target,
        rows=len(rows),
        data=digest_rows(rows),
        source=source,
        metrics=tuple(MetricFacts(m.name, m.meaning, plan.mode_of(m), m.scale, m.higher_is_better) for m in plan.metrics),
        arms=findings.arm_results(scored),
        comparisons=findings.comparisons(scored, plan.metrics, options),
        confusions=findings.confusions(scored, plan.labels, target, options) if plan.task == "classification" else (),
        worst=findings.worst_cases(scored, plan.metrics[0], plan.mode_of, target, options.worst),
        gaps=findings.gaps(scored, on_seen, plan.metrics, options),
        knowledge=tuple(knowledge),
        left_out=dict(left_out or {}),
        notes=(
            *plan.notes,
            *findings.notes_on_free_answers(scored, plan.metrics[0], plan.mode_of(plan.metrics[0]), target, options),
            *notes_on_training_rows(soft, rows),
            *findings.notes(arms, rows, train_rows, target, scored),
        ),
        settings={**_settings(plan, options, sittings[0].max_tokens), **(facts or {})},
        environment=_environment(model),
        seconds=round(time.perf_counter() - began, 2),
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What will be measured, and on which answers."""

    task: Task
    metrics: list[Metric]
    modes: tuple[str, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...]

    def mode_of(self, metric: Metric) -> str:
        """Which answers a metric looks at."""
        if metric.judges == "likelihood":
            return "wanted"
        preferred = "choices" if metric.judges == "label" else "free"
        return preferred if preferred in self.modes else self.modes[0]


def _check(arms: Sequence[Arm], rows: Rows) -> None:
    if not arms:
        msg = "There is nothing to judge: give at least one arm."
        raise EvaluationError(msg)
    names = [arm.name for arm in arms]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        msg = f"Two arms are named {twice!r}. Give each a name of its own."
        raise EvaluationError(msg)
    if not rows:
        msg = "There are no rows to judge on."
        raise EvaluationError(msg)


def _plan(
    rows: Rows,
    train_rows: Rows,
    target: str,
    asked: Sequence[str | RowFunction | Metric],
    labels: Sequence[str] | None,
    options: EvaluationOptions,
) -> _Plan:
    wanted = [str(row.get(target, "")) for row in rows]
    learned = [str(row.get(target, "")) for row in train_rows]
    task = "classification" if labels is not None else guess_task([*wanted, *learned])
    if options.answers in {"choices", "both"}:
        task = "classification"
    metrics = choose_metrics(task, asked, ignore_case=options.ignore_case)
    if task != "classification":
        return _Plan(task, metrics, ("free",) if any(metric.judges != "likelihood" for metric in metrics) else (), (), ())
    known = tuple(sorted(set(labels))) if labels is not None else tuple(sorted({*wanted, *learned}))
    strange = sorted(set(wanted) - set(known))
    if strange:
        msg = f"labels: {strange[0]!r} is wanted in the rows, but is none of the {len(known)} labels given."
        raise EvaluationError(msg)
    modes: tuple[str, ...] = ("choices", "free") if options.answers in {"auto", "both"} else (options.answers,)
    judged = {"choices" if metric.judges == "label" else "free" for metric in metrics if metric.judges != "likelihood"}
    if len(modes) == 2:
        modes = tuple(mode for mode in modes if mode in judged)
    notes: tuple[str, ...] = ()
    if labels is None and not train_rows and "choices" in modes:
        notes = (f"Answers were chosen among the {len(known)} labels that occur in these rows; if there are more, choosing is harder.",)
    return _Plan(task, metrics, modes if judged else (), known, notes)


def _sample(rows: Rows, count: int, seed: int) -> Rows:
    return rows if len(rows) <= count else random.Random(seed).sample(list(rows), count)


def _settings(plan: _Plan, options: EvaluationOptions, max_tokens: int) -> dict[str, Scalar]:
    return {
        "task": plan.task,
        "metrics": ", ".join(metric.name for metric in plan.metrics)[:500],
        "answers": " and ".join(plan.modes) or "none",
        "labels": len(plan.labels),
        "max_tokens": max_tokens,
        "decoding": "greedy",
        "ignore_case": options.ignore_case,
        "seed": options.seed,
        "resamples": options.resamples,
    }


def _environment(model: FrozenModel) -> dict[str, str]:
    return {
        "model": model.name,
        "revision": model.revision or "",
        "fingerprint": model.fingerprint,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "quantization": model.quantization or "none",
        "langchain_softprompt": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


__all__ = ["evaluate"]
