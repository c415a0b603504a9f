"""The data sets, their hard prompts, and how long to train on each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from langchain_softprompt.data import HardPrompt, Row, read_rows
from langchain_softprompt.settings import TrainingSettings

_HERE = Path(__file__).parent
_DATA = _HERE.parent / "data"
VIRTUAL_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Task:
    """One data set.

    Attributes:
        name: Its folder.
        field: What is read.
        target: What is to be answered.
        metrics: What answers are scored by, the one that decides first.
        targets: What a soft prompt should reach, by metric.
        steps: Optimiser steps of 16 rows that fit into half an hour on two cores.
        learning_rate: Of our own way; ``None`` for that found by trying, as the other ways do.
        validation_rows: Rows that choose the best step.
        answer_tokens: Most tokens of an answer of the few-shot prompt when it is distilled.
        shots: Solved examples of the few-shot prompt.
        distil_rows: Texts it is distilled on.
        distil_steps: Optimiser steps for that.
    """

    name: str
    field: str
    target: str
    metrics: tuple[str, ...]
    targets: dict[str, float]
    steps: int
    answer_tokens: int
    shots: int = 5
    distil_rows: int = 3000
    distil_steps: int = 300
    learning_rate: float | None = None
    validation_rows: int = 200

    def prompt(self) -> HardPrompt:
        """The hard prompt."""
        return HardPrompt.from_file(_HERE / "templates" / f"{self.name}.json")

    def rows(self, split: str) -> list[Row]:
        """The rows of ``train``, ``validation`` or ``test``."""
        return read_rows(_DATA / self.name / f"{split}.jsonl", [self.field, self.target])

    def settings(self, seed: int, **changes: object) -> TrainingSettings:
        """How to train on it."""
        base = TrainingSettings(virtual_tokens=VIRTUAL_TOKENS, max_steps=self.steps, seed=seed, patience=None)
        return base.override(**{"evaluate_every": max(1, self.steps // 6), "validation_rows": self.validation_rows, **changes})


TASKS = {
    task.name: task
    for task in (
        Task(
            "sentence_polarity",
            "text",
            "label",
            ("accuracy", "macro_f1", "exact_match"),
            {"accuracy": 0.88},
            300,
            16,
            learning_rate=0.01,
            validation_rows=500,
        ),
        Task("banking77", "text", "label", ("accuracy", "macro_f1", "exact_match"), {"accuracy": 0.75}, 800, 24),
        Task(
            "snips",
            "input",
            "output",
            ("json_exact_match", "slot_f1", "valid_json", "intent"),
            {"intent": 0.95, "json_exact_match": 0.45},
            500,
            64,
        ),
        Task("disfl_qa", "text", "output", ("exact_match", "chrf"), {"exact_match": 0.62, "chrf": 0.90}, 1000, 48, validation_rows=500),
    )
}


def intent(row: Row, answer: str) -> float:
    """Whether an answer in JSON names the wanted intent."""
    try:
        said = json.loads(answer)
    except ValueError:
        return 0.0
    return float(isinstance(said, dict) and said.get("intent") == json.loads(row["output"])["intent"])
