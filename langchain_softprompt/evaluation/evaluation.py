"""Evaluation: all that came of judging, as one value that a report, JSON and a manifest are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.evaluation.metrics import Task
from langchain_softprompt.evaluation.results import ArmResult, Case, Comparison, Confusion, Gap, Knowledge, MetricFacts, Scalar
from langchain_softprompt.plain import plain
from langchain_softprompt.soft_prompt import EvaluationRecord


@dataclass(frozen=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        task: What the wanted answers are: ``"classification"``, ``"json"`` or ``"text"``.
        target: The field that holds the wanted answer.
        rows: How many rows were judged on.
        data: SHA-256 over them.
        source: Where they came from.
        metrics: The metrics; the first decides in verdicts.
        arms: The arms, soft prompts first.
        comparisons: Each soft prompt beside each other arm.
        confusions: For labels, which were answered where which were wanted.
        worst: Rows that the soft prompts did worst on.
        gaps: Over-fitting, where training rows were given.
        knowledge: What is left of the bare model.
        left_out: Baselines that could not be run, and why.
        notes: What else a reader must know.
        settings: How answers were made and compared, by name.
        environment: Model, dtype, versions.
        seconds: Time for all of it, the model already in memory.
        created: Date, ISO 8601.
    """

    task: Task
    target: str
    rows: int
    data: str
    source: str
    metrics: tuple[MetricFacts, ...]
    arms: tuple[ArmResult, ...]
    comparisons: tuple[Comparison, ...]
    confusions: tuple[Confusion, ...]
    worst: tuple[Case, ...]
    gaps: tuple[Gap, ...]
    knowledge: tuple[Knowledge, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]
    settings: Mapping[str, Scalar]
    environment: Mapping[str, str]
    seconds: float
    created: str = field(default="")

    def arm(self, name: str) -> ArmResult:
        """The arm of a name.

        Raises:
            EvaluationError: There is none.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        msg = f"There is no arm {name!r}. There are: {', '.join(arm.name for arm in self.arms)}."
        raise EvaluationError(msg)

    def metric(self, name: str) -> MetricFacts:
        """The metric of a name.

        Raises:
            EvaluationError: It was not measured.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        msg = f"The metric {name!r} was not measured. Measured were: {', '.join(metric.name for metric in self.metrics)}."
        raise EvaluationError(msg)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values that JSON can hold: numbers that are not finite become ``None``."""
        told: dict[str, Any] = plain(self)
        return told

    def record(self, arm: str | None = None) -> EvaluationRecord:
        """What a manifest keeps of a soft prompt's evaluation, so that it can be made again.

        Args:
            arm: Name of the soft prompt; by default the first arm. The other arms' scores are kept under ``"arm/metric"``.
        """
        own = self.arms[0] if arm is None else self.arm(arm)
        scores, intervals = {}, {}
        for each in self.arms:
            for name, score in each.scores.items():
                key = name if each is own else f"{each.name}/{name}"[:500]
                if math.isfinite(score.value):
                    scores[key] = score.value
                    if math.isfinite(score.interval.low) and math.isfinite(score.interval.high):
                        intervals[key] = [score.interval.low, score.interval.high]
        return EvaluationRecord(
            data=self.data,
            rows=self.rows,
            source=self.source,
            target=self.target,
            settings=dict(self.settings),
            scores=scores,
            intervals=intervals,
            environment=dict(self.environment),
            created=self.created,
        )


__all__ = ["Evaluation"]
