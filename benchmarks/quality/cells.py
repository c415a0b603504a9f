"""One cell of the table: a task, a way, a seed; trained, then scored on the test rows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.quality.starts import WAYS, peft_start
from benchmarks.quality.tasks import VIRTUAL_TOKENS, Task, intent
from langchain_softprompt.data import HardPrompt
from langchain_softprompt.evaluation import Arm, EvaluationOptions, evaluate, few_shot_arm, hard_prompt_arm, soft_prompt_arm
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.soft_prompt import SoftPrompt, TemplateMessage
from langchain_softprompt.training import Nobody, StepReport, distill, train

OURS = "ours"
DISTILLED = "distilled"
_SAYS = {"system": "system", "user": "human", "assistant": "ai"}
ZERO_SHOT, FEW_SHOT = "hard prompt", "few-shot"


class Progress(Nobody):
    """A line a look."""

    def __init__(self, name: str) -> None:
        self._name = name

    def on_rate(self, rate: float, loss: float) -> None:
        print(f"{self._name}: rate {rate:g}: {loss:.4f}", flush=True)

    def on_step(self, report: StepReport) -> None:
        if report.validation_loss is not None:
            print(
                f"{self._name}: step {report.step} of {report.steps}, {report.seconds:.0f} s, loss {report.loss:.3f}, "
                f"validation {report.validation_loss:.4f}, exact {report.validation_exact_match:.3f}",
                flush=True,
            )


def run_cell(model: FrozenModel, task: Task, way: str, seed: int, runs: Path, *, rows: int | None = None) -> dict[str, Any]:
    """Train where the way trains, score on the test rows, and tell what it took."""
    began = time.perf_counter()
    facts: dict[str, Any] = {
        "task": task.name,
        "way": way,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    folder = runs / task.name / f"{way.replace(' ', '-')}-{seed}"
    if way in (ZERO_SHOT, FEW_SHOT):
        arm = _baseline(task, way, seed)
    elif way == DISTILLED:
        arm = soft_prompt_arm(_distilled(model, task, seed, folder, facts), prompt=task.prompt(), name=way)
    else:
        made = _made(model, task, way, seed, folder, facts)
        arm = soft_prompt_arm(made, prompt=task.prompt(), name=way)
    return {**facts, **score(model, task, [arm], rows), "total_seconds": round(time.perf_counter() - began, 1)}


def _baseline(task: Task, way: str, seed: int) -> Arm:
    if way == ZERO_SHOT:
        return hard_prompt_arm(task.prompt(), name=way)
    return few_shot_arm(task.prompt(), task.rows("train"), task.shots, target=task.target, seed=seed, unseen=task.rows("test"), name=way)


def _made(model: FrozenModel, task: Task, way: str, seed: int, folder: Path, facts: dict[str, Any]) -> SoftPrompt:
    resume = (folder / "settings.json").exists()
    watcher = Progress(f"{task.name}, {way}, seed {seed}")
    changes: dict[str, Any] = {"learning_rate": task.learning_rate}
    start_from = None
    if way in WAYS:
        start_from = peft_start(model, way, VIRTUAL_TOKENS, seed)
        changes = {"method": WAYS[way], "virtual_tokens": None}
    made = train(
        model,
        task.prompt(),
        task.rows("train"),
        task.rows("validation"),
        target=task.target,
        settings=task.settings(seed, **changes),
        start_from=start_from,
        source=task.name,
        output=folder,
        resume=resume,
        watcher=watcher,
    )
    manifest = made.manifest
    assert manifest is not None
    names = ("learning_rate", "steps_done", "best_step", "tokens", "seconds", "batch_size")
    facts |= {name: manifest.training[name] for name in names} | {"virtual_tokens": made.num_virtual_tokens, **manifest.scores}
    return made


def few_shot_prompt(task: Task, seed: int) -> HardPrompt:
    """The few-shot baseline's own messages as one hard prompt."""
    shots = _baseline(task, FEW_SHOT, seed)
    head = [TemplateMessage(role=_SAYS[said["role"]], template=escaped(said["content"])) for said in shots.head]  # type: ignore[arg-type]
    return HardPrompt((*head, *shots.inputs), f"{task.name}, {task.shots} examples")


def escaped(text: str) -> str:
    """Text as a template that says it."""
    return text.replace("{", "{{").replace("}", "}}")


def _distilled(model: FrozenModel, task: Task, seed: int, folder: Path, facts: dict[str, Any]) -> SoftPrompt:
    """A tenth of the few-shot prompt's tokens, taught on the training texts without their answers."""
    made = distill(
        model,
        few_shot_prompt(task, seed),
        task.rows("train")[: task.distil_rows],
        settings=task.settings(seed, virtual_tokens=None, max_steps=task.distil_steps, select_by="loss"),
        max_answer_tokens=task.answer_tokens,
        source=task.name,
        output=folder,
        resume=(folder / "settings.json").exists(),
        watcher=Progress(f"{task.name}, distilled, seed {seed}"),
    )
    told = made.to_json()
    names = ("initial_kl", "kl", "initial_agreement", "agreement", "prompt_tokens", "virtual_tokens", "prompt_seconds", "soft_seconds")
    facts |= {name: told[name] for name in names}
    training = made.soft_prompt.manifest.training if made.soft_prompt.manifest is not None else {}
    facts |= {name: training[name] for name in ("learning_rate", "steps_done", "best_step", "tokens", "seconds", "batch_size")}
    return made.soft_prompt


def score(model: FrozenModel, task: Task, arms: list[Arm], rows: int | None) -> dict[str, Any]:
    """Scores of the arms on the test rows."""
    given = [intent if name == "intent" else name for name in task.metrics]
    test = task.rows("test")[:rows]
    found = evaluate(
        model, arms, test, target=task.target, metrics=given, source=f"{task.name}/test", options=EvaluationOptions(knowledge=False)
    )
    (result,) = found.arms
    scores = {name: [value.value, value.interval.low, value.interval.high] for name, value in result.scores.items()}
    return {"test_rows": len(test), "scores": scores, "read_tokens": round(result.read_tokens, 1), "cut": result.cut}


__all__ = ["DISTILLED", "FEW_SHOT", "OURS", "ZERO_SHOT", "run_cell"]
