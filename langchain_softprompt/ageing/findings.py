"""Ageing: what came of a check, in numbers and in words; nothing in it needs the model any more."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_softprompt.plain import plain
from langchain_softprompt.prefix import ProbeReport, Verdict

_ORDER: tuple[Verdict, ...] = ("same", "unknown", "drifted", "broken")


@dataclass(frozen=True, slots=True)
class Environment:
    """What a soft prompt ran on. An empty text is something that was not recorded.

    Attributes:
        dtype: Type of the frozen model's weights.
        quantization: ``"int8"``, or ``"none"``.
        device: Kind of device, for instance ``"cpu"``.
        transformers: Version of transformers.
        torch: Version of torch.
    """

    dtype: str = ""
    quantization: str = ""
    device: str = ""
    transformers: str = ""
    torch: str = ""

    def differences(self, now: Environment) -> list[tuple[str, str, str]]:
        """What is known of then and is different now: name, then, now."""
        both = [(each.name, getattr(self, each.name), getattr(now, each.name)) for each in dataclasses.fields(self)]
        return [(name, before, after) for name, before, after in both if before and before != after]


@dataclass(frozen=True, slots=True)
class Identity:
    """Which model the soft prompt was made for, and which one it is checked on.

    Attributes:
        made_for: Name of the model it was made for; empty where its folder does not say.
        recorded: That model's fingerprint; empty where its folder does not say.
        name: Name of the model here.
        fingerprint: Its fingerprint.
        then: What it ran on when its probes were recorded, or its evaluation where there are none.
        now: What it runs on here.
    """

    made_for: str
    recorded: str
    name: str
    fingerprint: str
    then: Environment
    now: Environment

    @property
    def same_model(self) -> bool | None:
        """Whether the weights are the same; ``None`` where its folder does not say."""
        return self.recorded == self.fingerprint if self.recorded else None


@dataclass(frozen=True, slots=True)
class TemplateChange:
    """A probe that today's chat template renders otherwise.

    Attributes:
        probe: Its number, from 1.
        what: The first difference, in words.
    """

    probe: int
    what: str


@dataclass(frozen=True, slots=True)
class TemplateCheck:
    """The probes' messages, rendered by today's chat template.

    Attributes:
        compared: How many probes have messages, and were rendered.
        changes: Those that came out otherwise.
        effect: What the model says to today's rendering, beside what it said to the recorded one; ``None`` where none of the
            changed probes can be read.
    """

    compared: int
    changes: tuple[TemplateChange, ...] = ()
    effect: ProbeReport | None = None

    @property
    def verdict(self) -> Verdict:
        """``"drifted"`` as soon as one probe is rendered otherwise; ``"broken"`` where its answer is lost by that."""
        if not self.compared:
            return "unknown"
        if not self.changes:
            return "same"
        return "broken" if self.effect is not None and self.effect.verdict == "broken" else "drifted"


@dataclass(frozen=True, slots=True)
class ScoreAgain:
    """A score, then and now.

    Attributes:
        metric: The metric.
        higher_is_better: Whether more is better.
        scale: ``"share"`` from 0 to 1, or any ``"number"``.
        then: The recorded score.
        then_interval: Its 95 % confidence interval; ``None`` where none was recorded.
        now: Today's score; NaN where there is nothing to score.
        now_interval: Its 95 % confidence interval.
        same_data: Whether both were measured on the same rows.
    """

    metric: str
    higher_is_better: bool
    scale: str
    then: float
    then_interval: tuple[float, float] | None
    now: float
    now_interval: tuple[float, float]
    same_data: bool

    @property
    def verdict(self) -> Verdict:
        """``"drifted"`` where the score is worse than the rows it was measured on leave room for.

        On the same rows: outside the recorded interval. On others: the two intervals don't overlap. A share that is less than
        half of what it was is ``"broken"``.
        """
        if not math.isfinite(self.now):
            return "unknown"
        sign = 1.0 if self.higher_is_better else -1.0
        bounds = self.then_interval or (self.then, self.then)
        worst_then = min(sign * bound for bound in bounds)
        best_now = sign * self.now if self.same_data else max(sign * bound for bound in (*self.now_interval, self.now))
        if best_now >= worst_then:
            return "same"
        return "broken" if self.scale == "share" and self.higher_is_better and self.now < self.then / 2 else "drifted"


@dataclass(frozen=True, slots=True)
class EvaluationAgain:
    """The recorded evaluation, made again.

    Attributes:
        same_data: Whether the rows are those of the record, by digest.
        rows: How many rows were judged on.
        recorded_rows: How many it were then.
        scores: Then and now, by metric.
        notes: What else a reader must know.
    """

    same_data: bool
    rows: int
    recorded_rows: int
    scores: tuple[ScoreAgain, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of its scores'; ``"unknown"`` without any."""
        return worst(score.verdict for score in self.scores)


@dataclass(frozen=True, slots=True)
class Ageing:
    """What came of a check.

    Attributes:
        soft_prompt: What the user named.
        content_hash: What identifies its numbers.
        identity: Model and versions, then and now.
        template: The chat template, then and now.
        probes: The probes, then and now; ``None`` where they could not be read.
        evaluation: The recorded evaluation, made again; ``None`` if that was not asked for.
        failure: Why it can't be used on this model at all; empty where it can.
        notes: What could not be checked, and why.
        next_step: What to do.
    """

    soft_prompt: str
    content_hash: str
    identity: Identity
    template: TemplateCheck
    probes: ProbeReport | None
    evaluation: EvaluationAgain | None
    failure: str
    notes: tuple[str, ...]
    next_step: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worst that was found.

        ``"unknown"`` only where nothing could be compared: neither probes nor an evaluation.
        """
        if self.failure:
            return "broken"
        parts = [self.template.verdict]
        parts += [part.verdict for part in (self.probes, self.evaluation) if part is not None]
        return worst(part for part in parts if part != "unknown")

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values; numbers that are not finite become ``None``."""
        told: dict[str, Any] = plain(self, _more)
        return told


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts; ``"unknown"`` of none."""
    return max(verdicts, key=_ORDER.index, default="unknown")


def _more(value: Any) -> Mapping[str, Any]:
    if isinstance(value, ProbeReport):
        return value.to_json()
    return {name: getattr(value, name) for name in ("verdict", "same_model") if hasattr(value, name)}


__all__ = ["Ageing", "Environment", "EvaluationAgain", "Identity", "ScoreAgain", "TemplateChange", "TemplateCheck", "worst"]
