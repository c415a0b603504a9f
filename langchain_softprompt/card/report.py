"""Report: an evaluation as `evaluate --json` prints it, read with distrust; a manifest's record of one is brought into the same form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.evaluation.metrics import METRICS
from langchain_softprompt.evaluation.words import spell_answers
from langchain_softprompt.printable import printable, shown
from langchain_softprompt.soft_prompt import EvaluationRecord

if TYPE_CHECKING:
    from langchain_softprompt.evaluation import Evaluation, Metric

_Number = Annotated[float, Field(allow_inf_nan=False)]
Kind = Literal["soft prompt", "hard prompt", "few-shot", "initialisation"]
OWN = "this soft prompt"
_MOST = 100  # metrics, or arms


class _Part(BaseModel):
    # A newer report may say more.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Ends(_Part):
    """An interval; ``None`` where it is not known."""

    low: _Number | None = None
    high: _Number | None = None


class Score(_Part):
    """A score; ``None`` where there was nothing to score."""

    value: _Number | None = None
    interval: Ends = Ends()


class Measure(_Part):
    """A metric, as `evaluation.MetricFacts`."""

    name: str
    meaning: str = ""
    answers: Literal["choices", "free", "wanted", ""] = ""
    scale: Literal["share", "number"] = "number"
    higher_is_better: bool = True

    @property
    def title(self) -> str:
        """Its name, and the answers it looked at where that is known."""
        return f"{self.name}, {spell_answers(self.answers)}" if self.answers else self.name


class ArmScores(_Part):
    """What one arm came to, as `evaluation.ArmResult`."""

    name: str
    kind: Kind
    scores: dict[str, Score]
    virtual_tokens: int | None = None
    read_tokens: _Number | None = None
    soft_prompt_hash: str | None = None


class Pair(_Part):
    """The soft prompt beside another arm, as `evaluation.Comparison`."""

    metric: str
    arm: str
    other: str
    difference: _Number | None = None
    interval: Ends = Ends()
    p_value: _Number | None = None
    better: bool | None = None


class Finding(_Part):
    """A verdict on an arm in words, as `evaluation.Gap` and `evaluation.Knowledge` have it."""

    arm: str
    verdict: str
    metric: str = ""


class Report(_Part):
    """An evaluation, as `evaluation.Evaluation`."""

    rows: Annotated[int, Field(ge=1)]
    data: str = ""
    source: str = ""
    metrics: Annotated[list[Measure], Field(min_length=1, max_length=_MOST)]
    arms: Annotated[list[ArmScores], Field(min_length=1, max_length=_MOST)]
    comparisons: list[Pair] = []
    gaps: list[Finding] = []
    knowledge: list[Finding] = []
    left_out: dict[str, str] = {}
    notes: list[str] = []
    settings: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    created: str = ""


def read_report(evaluation: Evaluation | Mapping[str, Any]) -> Report:
    """Read an evaluation.

    Args:
        evaluation: The evaluation itself, or the parsed JSON of `evaluate --json`.

    Raises:
        EvaluationError: It is neither.
    """
    content: object = evaluation if isinstance(evaluation, Mapping) or not hasattr(evaluation, "to_json") else evaluation.to_json()
    try:
        return Report.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = printable(".".join(map(str, first["loc"])) or "content")
        msg = f"evaluation: {place}: {first['msg']}, found {shown(first['input'])}. Give what 'evaluate --json' prints."
        raise EvaluationError(msg) from error


def recorded_report(record: EvaluationRecord | None) -> Report | None:
    """What a manifest keeps of an evaluation, in the same form; ``None`` where that holds no score of the soft prompt.

    Other arms' scores are there under ``arm/metric``, and what kind of arm that is shows in its name.
    """
    if record is None or not record.rows or all("/" in key for key in record.scores):
        return None
    arms: dict[str, dict[str, Any]] = {}
    names: dict[str, None] = {}
    for key, value in record.scores.items():
        arm, _, metric = key.rpartition("/")
        low, high = record.intervals.get(key, [None, None])
        arms.setdefault(arm, {})[metric] = {"value": value, "interval": {"low": low, "high": high}}
        names[metric] = None
    answers = str(record.settings.get("answers", ""))
    content = {
        **record.model_dump(include={"rows", "data", "source", "settings", "environment", "created"}),
        "metrics": [_measure(name, METRICS.get(name), answers) for name in names][:_MOST],
        "arms": [{"name": arm or OWN, "kind": _kind_of(arm), "scores": scores} for arm, scores in arms.items() if _kind_of(arm)][:_MOST],
    }
    return Report.model_validate(content)


def _measure(name: str, metric: Metric | None, answers: str) -> dict[str, Any]:
    if metric is None:  # a function of somebody's own
        return {"name": name}
    looked_at = "wanted" if metric.judges == "likelihood" else "choices" if metric.judges == "label" and "choices" in answers else "free"
    facts = {"name": name, "meaning": metric.meaning, "scale": metric.scale, "higher_is_better": metric.higher_is_better}
    return {**facts, "answers": looked_at if answers else ""}


def _kind_of(arm: str) -> Kind | None:
    if not arm:
        return "soft prompt"
    if arm.startswith("initialisation"):
        return "initialisation"
    if arm.startswith("hard prompt"):
        return "few-shot" if arm.startswith("hard prompt +") else "hard prompt"
    return None  # another soft prompt that was judged beside it


__all__ = ["OWN", "ArmScores", "Ends", "Measure", "Pair", "Report", "Score", "read_report", "recorded_report"]
