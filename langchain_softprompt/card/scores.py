"""Scores: what of an evaluation is about one soft prompt, named so that a stranger understands it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_softprompt.card.markdown import Markdown, code, table, without_folders, words
from langchain_softprompt.card.report import OWN, ArmScores, Ends, Measure, Report, Score, read_report, recorded_report
from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.evaluation import Interval
from langchain_softprompt.evaluation.metrics.metric import Scale
from langchain_softprompt.evaluation.words import spell, spell_difference, spell_interval, spell_p, spell_range
from langchain_softprompt.printable import shown
from langchain_softprompt.soft_prompt import SoftPrompt

if TYPE_CHECKING:
    from langchain_softprompt.evaluation import Evaluation

_BASELINES = {
    "hard prompt": "hard prompt, as text",
    "few-shot": "hard prompt with {} solved examples, as text",
    "initialisation": "what it was before training",
}
_EXAMPLES = re.compile(r"hard prompt \+ (\d{1,4}) examples")
_SETTINGS = {
    "answers": "answers",
    "decoding": "decoding",
    "labels": "labels to choose from",
    "max_tokens": "most tokens of an answer",
    "ignore_case": "upper and lower case alike",
    "seed": "seed",
}
_MOST_FINDINGS = 40
_FOLDS = re.compile(r", (\d{1,4}) folds$")
_ENVIRONMENT = ("dtype", "quantization", "device", "langchain_softprompt", "torch", "transformers")


@dataclass(frozen=True)
class Scores:
    """What of an evaluation is about one soft prompt.

    Attributes:
        report: The evaluation.
        own: What the soft prompt came to.
        labels: What to call it and its baselines, by arm; other soft prompts are not among them.
        other_weights: Whether the evaluation was made on other weights than the soft prompt.
    """

    report: Report
    own: ArmScores
    labels: Mapping[str, str]
    other_weights: bool

    @property
    def folds(self) -> int:
        """On how many folds soft prompts made the same way were judged in its place; 0 where it was judged itself."""
        named = _FOLDS.search(self.own.name)
        return int(named[1]) if named else 0

    @property
    def source(self) -> str:
        """Where the rows came from, without anybody's folders."""
        return without_folders(self.report.source, is_source=True)

    def table(self) -> Markdown:
        """All scores with their intervals."""
        read = any(arm.read_tokens is not None for arm in self.report.arms)
        head = ["", *(each.title + ("" if each.higher_is_better else " (lower is better)") for each in self.report.metrics)]
        rows: list[list[object]] = []
        for arm in self.report.arms:
            if arm.name not in self.labels:
                continue
            label = words(self.labels[arm.name])
            cells = [_spelled(arm.scores.get(each.name, Score()), each.scale) for each in self.report.metrics]
            tokens = [] if not read else ["" if arm.read_tokens is None else f"{arm.read_tokens:.0f}"]
            rows.append([Markdown(f"**{label}**") if arm is self.own else label, *cells, *tokens])
        return table([*head, "tokens read a row"] if read else head, rows, numbers=True)

    def comparisons(self) -> Markdown | None:
        """How far the baselines are behind or ahead, by the first metric; ``None`` where that was not compared."""
        first = self.report.metrics[0]
        rows = [
            (
                self.labels[pair.other],
                spell_difference(_number(pair.difference), first.scale),
                spell_range(_interval(pair.interval), first.scale),
                spell_p(_number(pair.p_value)),
                {True: "better", False: "worse", None: "no difference shown"}[pair.better],
            )
            for pair in self.report.comparisons
            if pair.metric == first.name and pair.arm == self.own.name and pair.other in self.labels
        ]
        return table([f"{first.name}, compared with", "difference", "95 % interval", "p", "this soft prompt is"], rows) if rows else None

    def meanings(self) -> list[Markdown]:
        """What each metric says."""
        return [Markdown(f"{words(each.name)}: {words(each.meaning)}") for each in self.report.metrics if each.meaning]

    def findings(self) -> list[Markdown]:
        """Verdicts on it, what a reader must know to trust the numbers, and what could not be compared."""
        first = self.report.metrics[0].name
        about = [each for each in self.report.gaps if each.metric == first]
        said = [each.verdict for each in (*about, *self.report.knowledge) if each.arm == self.own.name]
        strangers = [arm.name for arm in self.report.arms if arm.name not in self.labels]
        said += [note for note in self.report.notes if not any(name in note for name in strangers)]
        said += [f"Not compared: {name}, because {reason}." for name, reason in self.report.left_out.items()]
        return [words(without_folders(self._renamed(text))) for text in said[:_MOST_FINDINGS]]

    def how(self) -> Markdown:
        """How it was measured."""
        report = self.report
        facts: list[tuple[object, object]] = [
            ("rows", f"{report.rows:,}"),
            ("from", self.source or "not recorded"),
            ("SHA-256 over them", code(report.data, 64) if report.data else "not recorded"),
            ("date", report.created or "not recorded"),
        ]
        facts += [(label, spelled(report.settings[name])) for name, label in _SETTINGS.items() if _says(name, report.settings.get(name))]
        versions = [f"{name} {report.environment[name]}" for name in _ENVIRONMENT if report.environment.get(name)]
        facts += [("made with", ", ".join(versions).replace("_", "-"))] if versions else []
        return table(("measured", ""), facts)

    def _renamed(self, text: str) -> str:
        # Its own name may be a path, and those of baselines may hold it.
        paths = {name: label for name, label in self.labels.items() if " of " in name}
        labels = {_FOLDS.sub("", self.own.name): OWN, self.own.name: OWN, **paths}
        names = "|".join(re.escape(name) for name in sorted(labels, key=len, reverse=True) if name)
        return re.sub(rf"(?<![\w/])(?:{names})(?![\w/])", lambda found: labels[found[0]], text)


def find_scores(soft_prompt: SoftPrompt, evaluation: Evaluation | Mapping[str, Any] | None) -> Scores | None:
    """Find a soft prompt's scores.

    Args:
        soft_prompt: The soft prompt.
        evaluation: Its evaluation; by default the one that its manifest keeps.

    Returns:
        The scores; ``None`` where there was no evaluation.

    Raises:
        EvaluationError: The evaluation is none, or it is not about this soft prompt.
    """
    manifest = soft_prompt.manifest
    report = read_report(evaluation) if evaluation is not None else recorded_report(manifest.evaluation if manifest else None)
    if report is None:
        return None
    own = _own_arm(report, soft_prompt)
    if own.virtual_tokens not in (None, soft_prompt.num_virtual_tokens):
        msg = (
            f"evaluation: its soft prompt has {own.virtual_tokens} virtual tokens, and this one has {soft_prompt.num_virtual_tokens}. "
            "Give the evaluation of this soft prompt."
        )
        raise EvaluationError(msg)
    if own.soft_prompt_hash not in (None, soft_prompt.content_hash):
        msg = (
            f"evaluation: its soft prompt {shown(own.name)} has the hash {shown(own.soft_prompt_hash)}, and this one "
            f"{soft_prompt.content_hash!r}. Give the evaluation of this soft prompt."
        )
        raise EvaluationError(msg)
    weights = report.environment.get("fingerprint")
    other = bool(weights and manifest and weights != manifest.base_model.fingerprint)
    return Scores(report, own, _labels(report, own), other)


def _own_arm(report: Report, soft_prompt: SoftPrompt) -> ArmScores:
    soft = [arm for arm in report.arms if arm.kind == "soft prompt"]
    named = soft
    if len(soft) > 1:
        own = [arm for arm in soft if arm.name == soft_prompt.source]
        named = own or [arm for arm in soft if _FOLDS.sub("", arm.name) == soft_prompt.source]
    if len(named) == 1:
        return named[0]
    found = "no soft prompt" if not soft else f"{len(soft)} soft prompts, none of them named {soft_prompt.source!r}"
    msg = f"evaluation: it judges {found}. Give an evaluation of this soft prompt alone, or load it by the name it was judged by."
    raise EvaluationError(msg)


def _labels(report: Report, own: ArmScores) -> dict[str, str]:
    labels = {own.name: OWN}
    others = {arm.name for arm in report.arms if arm.kind == "soft prompt" and arm is not own}
    for arm in report.arms:
        if arm.kind == "soft prompt" or (arm.kind == "initialisation" and any(arm.name == f"initialisation of {name}" for name in others)):
            continue
        examples = _EXAMPLES.match(arm.name)
        label = _BASELINES[arm.kind].format(examples[1] if examples else "some")
        twice = sum(each.startswith(label) for each in labels.values())
        labels[arm.name] = f"{label} ({twice + 1})" if twice else label
    return labels


def _spelled(score: Score, scale: Scale) -> str:
    if score.value is None:
        return "–"  # noqa: RUF001 - a dash, not a minus
    ends = f" ({spell_interval(_interval(score.interval), scale)})" if score.interval.low is not None else ""
    return spell(score.value, scale) + ends


def _says(name: str, value: object) -> bool:
    return value not in (None, "") and value is not False and not (value == 0 and name == "labels")


def spelled(value: object) -> str:
    """A setting as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _interval(ends: Ends) -> Interval:
    return Interval(_number(ends.low), _number(ends.high))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def own_scores(scores: Scores) -> list[tuple[Measure, float, str]]:
    """The soft prompt's own scores, with their intervals in words; what has no value is left out."""
    found = []
    for each in scores.report.metrics:
        score = scores.own.scores.get(each.name, Score())
        if score.value is not None:
            ends = _interval(score.interval)
            found.append((each, score.value, "" if math.isnan(ends.low) else spell_interval(ends, each.scale)))
    return found


__all__ = ["Scores", "find_scores", "own_scores", "spelled"]
