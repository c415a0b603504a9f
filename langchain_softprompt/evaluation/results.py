"""What is found in an evaluation, in numbers and in words; nothing in it needs the model any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from langchain_softprompt.evaluation.arms import ArmKind
from langchain_softprompt.evaluation.metrics.metric import Scale
from langchain_softprompt.evaluation.statistics import Interval

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
        soft_prompt_hash: `SoftPrompt.content_hash` of its soft prompt; ``None`` without one.
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
    soft_prompt_hash: str | None = None


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
