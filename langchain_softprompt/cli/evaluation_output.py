"""An evaluation as it is shown, written and kept."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from langchain_softprompt.cli.output import people, say, show_json
from langchain_softprompt.errors import EvaluationError

if TYPE_CHECKING:
    from langchain_softprompt.evaluation import Arm, Evaluation

_WIDEST = 20  # the arms' column, in letters


def below_limits(evaluation: Evaluation, limits: Mapping[str, float]) -> list[str]:
    """What is worse than it may be, in words."""
    said = []
    for name, limit in limits.items():
        facts = evaluation.metric(name)
        for arm in evaluation.arms:
            if arm.kind != "soft prompt":
                continue
            value = arm.scores[name].value
            if not (value >= limit if facts.higher_is_better else value <= limit):  # NaN is worse than any limit
                said.append(f"{arm.name}: {name} is {value:.4g}, worse than {limit:g}")
    return said


def write_evaluation(
    evaluation: Evaluation,
    soft: Sequence[Arm],
    rows: Sequence[Mapping[str, str]],
    *,
    report: Path | None,
    save_answers: Path | None,
    record: bool,
) -> None:
    """Write what was asked for: answers, report, records in manifests."""
    from langchain_softprompt.evaluation.report import report_page

    if save_answers is not None:
        given = {arm.name: arm.answers for arm in evaluation.arms}
        lines = [
            {"row": dict(row), "answers": {name: {mode: texts[number] for mode, texts in modes.items()} for name, modes in given.items()}}
            for number, row in enumerate(rows)
        ]
        try:
            save_answers.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
        except OSError as error:
            msg = f"save-answers: {save_answers} can't be written: {error}."
            raise EvaluationError(msg) from error
    if report is not None:
        folders = {arm.name: folder for arm in soft if (folder := _trained_in(arm)) is not None}
        command = shlex.join(["langchain-softprompt", *sys.argv[1:]]) if sys.argv[1:2] == ["evaluate"] else ""
        report_page(evaluation, command=command, folders=folders).write(report)
    if record:
        for arm in soft:
            if arm.soft_prompt is not None and arm.soft_prompt.manifest is not None and arm.soft_prompt.folder is not None:
                manifest = arm.soft_prompt.manifest.model_copy(update={"evaluation": evaluation.record(arm.name)})
                replace(arm.soft_prompt, manifest=manifest).save(arm.soft_prompt.folder)


def _trained_in(arm: Arm) -> Path | None:
    """Where the curves of its training lie; those of a distillation are of two quantities, which its own report keeps apart."""
    if arm.soft_prompt is None or (arm.manifest is not None and arm.manifest.distilled):
        return None
    return arm.soft_prompt.folder


def show_evaluation(evaluation: Evaluation, below: Sequence[str], *, report: Path | None, as_json: bool) -> None:
    """JSON for machines on stdout, a table and sentences for people on stderr."""
    if as_json:
        facts = evaluation.to_json()
        for arm in facts["arms"]:
            del arm["answers"]
        show_json({**facts, "below_limit": list(below), "report": str(report) if report is not None else None})
        return
    people.print(_table(evaluation))
    for line in _findings(evaluation):
        say(line)
    for line in below:
        say(f"Below the limit: {line}.")
    if report is not None:
        say(f"Report: {report}")


def _table(evaluation: Evaluation) -> Table:
    from langchain_softprompt.evaluation.words import spell, spell_answers, spell_interval

    title = f"{evaluation.rows} {'row' if evaluation.rows == 1 else 'rows'}, 95 % confidence intervals"
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)  # four metrics fit 80 columns
    table.add_column("arm", overflow="fold", width=_wide(arm.name for arm in evaluation.arms))
    for metric in evaluation.metrics:
        table.add_column(f"{metric.name}\n{spell_answers(metric.answers)}", justify="right", overflow="fold")
    table.add_column("tokens\nread", justify="right")
    for arm in evaluation.arms:
        cells = []
        for metric in evaluation.metrics:
            score = arm.scores[metric.name]
            cells.append(f"{spell(score.value, metric.scale)}\n{spell_interval(score.interval, metric.scale)}")
        table.add_row(escape(arm.name), *cells, f"{arm.read_tokens:.0f}")
    return table


def _wide(names: Iterable[str]) -> int:
    """So wide that no word of usual names is broken; a row has two lines, so a name may take two as well."""
    return min(max(len(word) for name in names for word in name.split()), _WIDEST)


def _findings(evaluation: Evaluation) -> Iterator[str]:
    """In words, by the first metric."""
    first = evaluation.metrics[0].name
    yield from (comparison.verdict for comparison in evaluation.comparisons if comparison.metric == first)
    yield from (f"{gap.arm}: {gap.verdict}" for gap in evaluation.gaps if gap.metric == first)
    yield from (f"{kept.arm}: {kept.verdict}" for kept in evaluation.knowledge)
    yield from (f"Note: {note}" for note in evaluation.notes)
    yield from (f"Not compared: {name}, because {reason}." for name, reason in evaluation.left_out.items())
