"""What was measured, as values that become JSON and come back."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

_HOLDS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be.

    Attributes:
        op: ``>=``, ``<=`` or ``<``.
        value: The bound.
        unit: Of both the bound and the figure: ``x``, ``ms``, ``s``, ``GB`` ...
    """

    op: str
    value: float
    unit: str

    def met(self, measured: float) -> bool:
        """Whether a figure keeps to it."""
        return _HOLDS[self.op](measured, self.value)


@dataclass(slots=True)
class Row:
    """One line of the table of targets.

    Attributes:
        what: What is measured.
        target: What it should be.
        measured: What it is; ``None`` when a contender was absent or failed.
        note: What a reader should know with it.
    """

    what: str
    target: Target
    measured: float | None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; ``None`` when nothing was measured."""
        return None if self.measured is None else self.target.met(self.measured)


@dataclass(slots=True)
class Scenario:
    """One scenario's outcome.

    Attributes:
        name: Its name, as `--only` takes it.
        title: What was done.
        unit: Of the samples.
        better: ``"higher"`` or ``"lower"``.
        samples: For each contender and way of using it, one figure a round.
        rows: The targets it answers to.
        facts: Anything else that was seen.
        profile: Where our own time goes, when a target was missed.
        error: Why it did not end, when it did not.
        elsewhere: When, where and in how many rounds it was measured, if not with the others.
    """

    name: str
    title: str
    unit: str
    better: str = "higher"
    samples: dict[str, list[float]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] | None = None
    error: str | None = None
    elsewhere: str = ""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """From what `Results.to_json` made of it."""
        rows = [Row(row["what"], Target(**row["target"]), row["measured"], row["note"]) for row in data["rows"]]
        return cls(**{**data, "rows": rows})


@dataclass(slots=True)
class Results:
    """A whole run.

    Attributes:
        made: Day it was made.
        quick: Whether sizes were small: a trial of the benchmark, not of the contenders.
        rounds: Rounds that counted.
        machine: What it was measured on.
        contenders: For each whether it was there, with its versions or the reason.
        scenarios: What was measured.
    """

    made: str
    quick: bool
    rounds: int
    machine: dict[str, Any]
    contenders: dict[str, dict[str, Any]]
    scenarios: list[Scenario]

    def to_json(self) -> str:
        """As text, figures rounded to what they are worth."""
        data = asdict(self)
        for scenario, one in zip(data["scenarios"], self.scenarios, strict=True):
            for row, its in zip(scenario["rows"], one.rows, strict=True):
                row["met"] = its.met
        return json.dumps(_rounded(data), indent=1, ensure_ascii=False) + "\n"

    def with_scenarios_of(self, other: Self) -> Self:
        """These results, with the other's scenarios in place of those of the same name."""
        where = f"Measured on {other.made}, {other.machine['cpu']}, {', '.join(other.machine['vector_units'])}, {other.rounds} rounds."
        newer = {scenario.name: replace(scenario, elsewhere=where) for scenario in other.scenarios}
        kept = [newer.pop(scenario.name, scenario) for scenario in self.scenarios]
        return replace(self, scenarios=[*kept, *newer.values()])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """And back."""
        data = json.loads(text)
        return cls(**{**data, "scenarios": [Scenario.from_json(scenario) for scenario in data["scenarios"]]})

    @classmethod
    def load(cls, file: Path) -> Self:
        """From a file."""
        return cls.from_json(file.read_text(encoding="utf-8"))


def _rounded(data: Any) -> Any:
    if isinstance(data, float):
        return float(f"{data:.5g}")
    if isinstance(data, dict):
        return {name: _rounded(value) for name, value in data.items()}
    return [_rounded(value) for value in data] if isinstance(data, list | tuple) else data
