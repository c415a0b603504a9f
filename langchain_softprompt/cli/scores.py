"""An evaluation as people read it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from langchain_softprompt.cli.output import people, say

if TYPE_CHECKING:
    from langchain_softprompt.evaluation import Evaluation


def show_scores(evaluation: Evaluation) -> None:
    """Scores with their intervals, then verdicts, then what else must be known."""
    people.print(_table(evaluation))
    for line in _findings(evaluation):
        say(line)


def _table(evaluation: Evaluation) -> Table:
    from langchain_softprompt.evaluation.words import spell, spell_interval

    table = Table(title=f"{evaluation.rows} rows, 95 % confidence intervals", title_justify="left")
    table.add_column("arm")
    for metric in evaluation.metrics:
        table.add_column(metric.name, justify="right", overflow="fold")
    table.add_column("tokens read", justify="right")
    for arm in evaluation.arms:
        cells = []
        for metric in evaluation.metrics:
            score = arm.scores[metric.name]
            cells.append(f"{spell(score.value, metric.scale)}\n{spell_interval(score.interval, metric.scale)}")
        table.add_row(escape(arm.name), *cells, f"{arm.read_tokens:.0f}")
    return table


def _findings(evaluation: Evaluation) -> Iterator[str]:
    """In words, by the first metric."""
    first = evaluation.metrics[0].name
    yield from (comparison.verdict for comparison in evaluation.comparisons if comparison.metric == first)
    yield from (f"{gap.arm}: {gap.verdict}" for gap in evaluation.gaps if gap.metric == first)
    yield from (f"{kept.arm}: {kept.verdict}" for kept in evaluation.knowledge)
    yield from (f"Note: {note}" for note in evaluation.notes)
    yield from (f"Not compared: {name}, because {reason}." for name, reason in evaluation.left_out.items())


__all__ = ["show_scores"]
