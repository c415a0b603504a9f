"""Evaluation: what came of it, in numbers and in words; nothing in it needs the model any more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.evaluation.arms import ArmKind
from langchain_softprompt.evaluation.metrics import Task
from langchain_softprompt.evaluation.metrics.metric import Scale
from langchain_softprompt.evaluation.statistics import Interval
from langchain_softprompt.plain import plain
from langchain_softprompt.soft_prompt import EvaluationRecord

Level = Literal["good", "caution", "bad"]
Scalar = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """What a metric's numbers mean.

    Attributes:
        name: The metric.
        meaning: What it says, in a sentence.
        answers: Which answers it looked at: ``"choices"``, ``"free"``, or ``"wanted"`` for the likelihood of the wanted ones.
        scale: ``"share"`` from 0 to 1, or any ``"number"``.
        higher_is_better: Whether more is better.
    """

    name: str
    meaning: str
    answers: str
    scale: Scale
    higher_is_better: bool


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one arm.

    Attributes:
        value: The score; NaN where there is nothing to score.
        interval: Its 95 % confidence interval.
    """

    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that an arm could not answer.

    Attributes:
        row: Its number, from 1.
        reason: Why.
    """

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What one arm came to.

    Attributes:
        name: The arm.
        kind: What it is.
        scores: By metric.
        answers: The answers to all rows, by how they were decoded: ``"choices"`` or ``"free"``.
        failures: Rows it could not answer. They count as wrong.
        cut: How many free answers were cut off at the most tokens an answer may have.
        virtual_tokens: Length of its soft prompt; 0 without one.
        read_tokens: Tokens read a row, on average, virtual tokens included.
        saved_tokens: How many fewer that is than the hard prompt reads, as a share; ``None`` without a hard prompt.
    """

    name: str
    kind: ArmKind
    scores: Mapping[str, Score]
    answers: Mapping[str, tuple[str, ...]]
    failures: tuple[Failure, ...]
    cut: int
    virtual_tokens: int
    read_tokens: float
    saved_tokens: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A soft prompt beside another arm, on the same rows.

    Attributes:
        metric: The metric.
        arm: The soft prompt.
        other: What it is compared with.
        difference: Its score less the other's.
        interval: The difference's 95 % confidence interval.
        p_value: How likely so large a difference is between arms that are alike; not corrected for the number of comparisons.
        test: ``"McNemar"`` or ``"randomisation"``.
        better: Whether it is better; ``None`` where the rows don't show it.
        verdict: The same in words.
    """

    metric: str
    arm: str
    other: str
    difference: float
    interval: Interval
    p_value: float
    test: str
    better: bool | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Confusion:
    """Which label was answered where which was wanted.

    Attributes:
        arm: Whose answers.
        labels: The labels; the last one stands for every answer that is none of them.
        counts: A row for each wanted label, a column for each answer.
    """

    arm: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def mistakes(self, most: int = 20) -> list[tuple[str, str, int]]:
        """The most frequent wrong answers: wanted label, answer, count."""
        found = [
            (wanted, self.labels[column], count)
            for wanted, row in zip(self.labels, self.counts, strict=True)
            for column, count in enumerate(row)
            if count and self.labels[column] != wanted
        ]
        return sorted(found, key=lambda mistake: -mistake[2])[:most]


@dataclass(frozen=True, slots=True)
class Case:
    """A row that an arm did badly on.

    Attributes:
        arm: The arm.
        row: The row's number, from 1.
        fields: What was read.
        wanted: The wanted answer.
        answer: The answer.
        score: The row's own value of the first metric.
        log_likelihood: Mean log-probability of the wanted answer's tokens; ``None`` where it is not known.
    """

    arm: str
    row: int
    fields: Mapping[str, str]
    wanted: str
    answer: str
    score: float
    log_likelihood: float | None


@dataclass(frozen=True, slots=True)
class Gap:
    """A soft prompt on rows it was trained on, beside rows it was not.

    Attributes:
        arm: The soft prompt.
        metric: The metric.
        train: Score on training rows.
        train_rows: How many these were.
        new: Score on the evaluation rows.
        difference: How much better it is on training rows; above 0 is better, whichever way the metric goes.
        interval: The difference's 95 % confidence interval.
        level: How good that is.
        verdict: The same in words.
    """

    arm: str
    metric: str
    train: float
    train_rows: int
    new: float
    difference: float
    interval: Interval
    level: Level
    verdict: str


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a soft prompt does to text that has nothing to do with its task.

    Attributes:
        arm: The soft prompt.
        unchanged: Whether the bare model's logits were the same, bit for bit, before and after it was used.
        divergence: Kullback-Leibler divergence from the bare model to the model with the soft prompt, nats a token.
        perplexity_off: Perplexity of the text without it.
        perplexity_on: Perplexity of the text with it.
        tokens: Tokens that were predicted.
        level: How good that is.
        verdict: The same in words.
    """

    arm: str
    unchanged: bool
    divergence: float
    perplexity_off: float
    perplexity_on: float
    tokens: int
    level: Level
    verdict: str


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
