"""The report of an evaluation: one HTML page that a reader who was not there understands."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from langchain_softprompt.evaluation.evaluation import Evaluation
from langchain_softprompt.evaluation.metrics import METRICS
from langchain_softprompt.evaluation.results import Case, Confusion, MetricFacts
from langchain_softprompt.evaluation.words import (
    list_words,
    spell,
    spell_answers,
    spell_difference,
    spell_interval,
    spell_p,
    spell_range,
)
from langchain_softprompt.reports import (
    Bars,
    Cell,
    Code,
    Details,
    Facts,
    Line,
    Page,
    Part,
    Section,
    Table,
    Text,
    Verdict,
    bar_chart,
    figure_or_note,
    heat_map,
    line_chart,
)

_MOST_LABELS = 20
_LONG_ANSWER = 400
_LOG = "log.jsonl"


def report_page(evaluation: Evaluation, *, title: str = "", command: str = "", folders: Mapping[str, str | Path] | None = None) -> Page:
    """Write an evaluation down as a page.

    Args:
        evaluation: What came of it.
        title: The page's heading.
        command: The command that made it, if there was one.
        folders: Where soft prompts were loaded from, by arm: the log of the training run beside them gives its curves.
    """
    soft = [arm.name for arm in evaluation.arms if arm.kind == "soft prompt"]
    sections = [
        Section("Verdict", "", list(_verdicts(evaluation))),
        Section("Scores", "The lines at the ends of the bars are 95 % confidence intervals.", list(_scores(evaluation))),
        Section(
            "Side by side",
            "Each soft prompt beside each other arm, on the same rows. p is how likely so large a difference is between arms that are "
            "alike; it is not corrected for the number of comparisons.",
            [_comparisons(evaluation)],
        ),
    ]
    sections += list(_optional(evaluation, folders or {}))
    sections.append(Section("How it was measured", "", list(_method(evaluation, command))))
    return Page(
        title or f"Evaluation of {list_words(soft) if soft else list_words([arm.name for arm in evaluation.arms])}",
        _summary(evaluation),
        sections,
        footer=f"Made by langchain-softprompt {evaluation.environment.get('langchain_softprompt', '')} on {evaluation.created}.",
    )


def _summary(evaluation: Evaluation) -> str:
    first, facts = evaluation.arms[0], evaluation.metrics[0]
    score = first.scores[facts.name]
    told = (
        f"{first.name}: {facts.name} {spell(score.value, facts.scale)} "
        f"(95 % interval {spell_interval(score.interval, facts.scale)}) on {evaluation.rows} rows of {evaluation.source or 'data'}."
    )
    return f"{told} {facts.meaning}"


def _verdicts(evaluation: Evaluation) -> Iterator[Part]:
    first = evaluation.metrics[0].name
    for comparison in evaluation.comparisons:
        if comparison.metric == first:
            yield Verdict("good" if comparison.better else "caution" if comparison.better is None else "bad", comparison.verdict)
    for gap in evaluation.gaps:
        if gap.metric == first:
            yield Verdict(gap.level, gap.verdict)
    for kept in evaluation.knowledge:
        yield Verdict(kept.level, f"{kept.arm}: {kept.verdict}")
    for note in evaluation.notes:
        yield Verdict("caution", note)
    for name, reason in evaluation.left_out.items():
        yield Text(f"Not compared: {name}, because {reason}.")


def _scores(evaluation: Evaluation) -> Iterator[Part]:
    names = [arm.name for arm in evaluation.arms]
    shares = [metric for metric in evaluation.metrics if metric.scale == "share"]
    if shares:
        yield _bars(evaluation, shares, names, "score, in percent", 100, "Scores by arm. Longer is better.")
    for metric in evaluation.metrics:
        if metric.scale != "share":
            better = "Longer" if metric.higher_is_better else "Shorter"
            yield _bars(evaluation, [metric], names, metric.name, 1, f"{metric.name} by arm. {better} is better.")
    measured = [f"{metric.name} ({spell_answers(metric.answers)})" for metric in evaluation.metrics]
    columns = ["arm", *measured, "virtual tokens", "tokens read a row", "rows that failed"]
    rows: list[list[Cell]] = []
    for arm in evaluation.arms:
        cells: list[Cell] = [arm.name]
        for metric in evaluation.metrics:
            score = arm.scores[metric.name]
            cells.append(f"{spell(score.value, metric.scale)} ({spell_interval(score.interval, metric.scale)})")
        rows.append([*cells, arm.virtual_tokens, arm.read_tokens, len(arm.failures)])
    yield Table(columns, rows, "Scores with their 95 % confidence intervals, and what each arm reads.", highlighted=0)
    lines = [[metric.name, metric.meaning, _LOOKS_AT[metric.answers]] for metric in evaluation.metrics]
    yield Table(["metric", "what it says", "looks at"], lines, "What the metrics mean.")


_LOOKS_AT = {
    "choices": "answers chosen among the labels",
    "free": "free answers",
    "wanted": "the wanted answer, given to the model",
}


def _bars(evaluation: Evaluation, metrics: Sequence[MetricFacts], names: Sequence[str], label: str, factor: int, caption: str) -> Part:
    series = []
    for metric in metrics:
        scores = [arm.scores[metric.name] for arm in evaluation.arms]
        values = [None if math.isnan(score.value) else factor * score.value for score in scores]
        ends = [(factor * score.interval.low, factor * score.interval.high) for score in scores]
        series.append(Bars(metric.name, values, [None if math.isnan(low) else (low, high) for low, high in ends]))
    if all(value is None for each in series for value in each.values):
        return Text(f"{list_words([metric.name for metric in metrics])}: no value on these rows.")
    return figure_or_note(lambda: bar_chart(names, series, value_label=label, horizontal=True), caption)


def _comparisons(evaluation: Evaluation) -> Part:
    if not evaluation.comparisons:
        return Text("There was only one arm, so there is nothing to compare.")
    scales = {metric.name: metric.scale for metric in evaluation.metrics}
    rows: list[list[Cell]] = []
    for one in evaluation.comparisons:
        better = {True: "yes", False: "no, worse", None: "not shown"}[one.better]
        difference = spell_difference(one.difference, scales[one.metric])
        interval = spell_range(one.interval, scales[one.metric])
        rows.append(
            [one.arm, one.other, one.metric, better, difference, interval, spell_p(one.p_value).removeprefix("p ").lstrip("= "), one.test]
        )
    columns = ["soft prompt", "other", "metric", "better?", "difference", "95 % interval", "p", "test"]
    return Table(columns, rows, "Differences: the soft prompt's score less the other's.")


def _optional(evaluation: Evaluation, folders: Mapping[str, str | Path]) -> Iterator[Section]:
    if evaluation.gaps:
        note = "A soft prompt that is much better on rows it was trained on has learned these rows, not the task."
        yield Section("Over-fitting", note, list(_gaps(evaluation)))
    curves = [figure for name, folder in folders.items() for figure in _curves(name, Path(folder))]
    if curves:
        yield Section("How it was trained", "From the log of the training run.", curves)
    shown = [one for one in evaluation.confusions if any(arm.name == one.arm and arm.kind == "soft prompt" for arm in evaluation.arms)]
    if shown:
        yield Section(
            "Which labels are mixed up", "Rows are the wanted labels, columns the answers.", [p for one in shown for p in _confusion(one)]
        )
    worst = list(_worst(evaluation))
    if worst:
        note = (
            "The rows with the lowest score; among equals, those whose wanted answer the model found least likely. The likelihood is "
            "the probability that it gave each token of the wanted answer, on (geometric) average."
        )
        yield Section("Worst cases", note, worst)
    if evaluation.knowledge:
        note = "What a soft prompt does to text that has nothing to do with its task."
        yield Section("Retained knowledge", note, list(_knowledge(evaluation)))
    failures: list[list[Cell]] = [[arm.name, failure.row, failure.reason] for arm in evaluation.arms for failure in arm.failures]
    if failures:
        yield Section("Rows that failed", "They count as wrong.", [Table(["arm", "row", "why"], failures[:100])])


def _gaps(evaluation: Evaluation) -> Iterator[Part]:
    scales = {metric.name: metric.scale for metric in evaluation.metrics}
    rows: list[list[Cell]] = []
    for gap in evaluation.gaps:
        scale = scales[gap.metric]
        cells = [spell(gap.train, scale), spell(gap.new, scale), spell_difference(gap.difference, scale), spell_range(gap.interval, scale)]
        rows.append([gap.arm, gap.metric, *cells])
    columns = ["soft prompt", "metric", "rows trained on", "new rows", "better on trained rows by", "95 % interval"]
    yield Table(columns, rows, f"{evaluation.gaps[0].train_rows} training rows beside {evaluation.rows} evaluation rows.")
    for gap in evaluation.gaps:
        if gap.metric == evaluation.metrics[0].name:
            yield Verdict(gap.level, gap.verdict)


def _curves(name: str, folder: Path) -> Iterator[Part]:
    """Loss by step, where the soft prompt lies in the folder of a training run."""
    steps = _log(folder.resolve().parent / _LOG)
    loss = [(step["step"], step["loss"]) for step in steps if _numbers(step, "step", "loss")]
    looks = [(step["step"], step["validation_loss"]) for step in steps if _numbers(step, "step", "validation_loss")]
    lines = [Line(label, *zip(*points, strict=True)) for label, points in (("training batch", loss), ("validation rows", looks)) if points]
    if lines:
        yield figure_or_note(
            lambda: line_chart(lines, x_label="step", y_label="loss a token, nats"),
            f"{name}: loss while it was trained. Where the two lines part, it begins to learn its rows by heart.",
        )


def _log(file: Path) -> list[dict[str, float]]:
    try:
        entries = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)]


def _numbers(entry: Mapping[str, object], *names: str) -> bool:
    values = [entry.get(name) for name in names]
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def _confusion(confusion: Confusion) -> Iterator[Part]:
    wanted = [number for number, row in enumerate(confusion.counts) if any(row)]
    given = [column for column in range(len(confusion.labels)) if any(row[column] for row in confusion.counts)]
    used = sorted({*wanted, *given})
    labels = [confusion.labels[number] for number in used]
    mistakes = confusion.mistakes()
    if len(used) <= _MOST_LABELS:
        counts = [[float(confusion.counts[row][column]) for column in used] for row in used]
        yield figure_or_note(
            lambda: heat_map(labels, labels, counts, value_label="rows", row_label="wanted", column_label="answered"),
            f"{confusion.arm}: how often each label was answered where each was wanted. What is off the diagonal is wrong.",
        )
    if mistakes:
        total = sum(count for _, _, count in confusion.mistakes(most=len(used) ** 2))
        yield Table(
            ["wanted", "answered", "rows"],
            mistakes,
            f"{confusion.arm}: the most frequent mistakes, {sum(count for _, _, count in mistakes)} of {total}.",
            bars=["rows"],
        )
    else:
        yield Text(f"{confusion.arm}: no label was mixed up with another.")


def _worst(evaluation: Evaluation) -> Iterator[Part]:
    first = evaluation.metrics[0]
    columns = ["row", "read", "wanted", "answered", "score", "likelihood"]
    for arm in evaluation.arms:
        rows = [_case(case) for case in evaluation.worst if case.arm == arm.name]
        if rows:
            yield Table(columns, rows, f"{arm.name}: the {len(rows)} worst rows, by {first.name}.")
        elif arm.kind == "soft prompt" and first.scale == "share" and math.isclose(arm.scores[first.name].value, 1):
            yield Text(f"{arm.name}: all rows are right, by {first.name}.")


def _case(case: Case) -> list[Cell]:
    read = next(iter(case.fields.values())) if len(case.fields) == 1 else "\n".join(f"{name}: {text}" for name, text in case.fields.items())
    likely = None if case.log_likelihood is None else math.exp(case.log_likelihood)
    return [case.row, _short(read), _short(case.wanted), _short(case.answer), case.score, likely]


def _short(text: str) -> str:
    return text if len(text) <= _LONG_ANSWER else f"{text[:_LONG_ANSWER]}…"


def _knowledge(evaluation: Evaluation) -> Iterator[Part]:
    rows: list[list[Cell]] = [
        [kept.arm, kept.unchanged, kept.divergence, kept.perplexity_off, kept.perplexity_on, kept.tokens] for kept in evaluation.knowledge
    ]
    columns = ["soft prompt", "bit-equal when off", "KL divergence when on, nats a token", "perplexity off", "perplexity on", "tokens"]
    yield Table(columns, rows, "Neutral sentences that come with this package, read without and with the soft prompt.")


def _method(evaluation: Evaluation, command: str) -> Iterator[Part]:
    settings, environment = evaluation.settings, evaluation.environment
    yield Facts({"rows": evaluation.rows, "arms": len(evaluation.arms), "seconds": evaluation.seconds})
    kinds = {"classification": "labels", "json": "JSON objects", "text": "free text"}[evaluation.task]
    yield Text(
        f"The wanted answers, in the field {evaluation.target!r}, are {kinds}. All arms answered the same rows through the engine that "
        f"serves soft prompts, greedy decoding, free answers of at most {settings.get('max_tokens')} tokens."
    )
    yield Text(
        "Where a row is right or wrong, intervals of scores are exact (Clopper and Pearson), differences are tested with McNemar's exact "
        "test, and their intervals go with it (Fay and Lumbard). Otherwise intervals are percentile bootstrap intervals of "
        f"{settings.get('resamples')} resamples of the rows (seed {settings.get('seed')}), and differences are tested by swapping rows "
        "between the arms. Over-fitting compares different rows: the interval of shares is Newcombe's, made of those of both scores."
    )
    if command:
        yield Text("Made by:")
        yield Code(command)
    facts: list[list[Cell]] = [["data", evaluation.source or "not said"], ["SHA-256 of the rows", evaluation.data]]
    facts += [[name.replace("_", " "), value] for name, value in {**settings, **environment}.items()]
    yield Details("Data, settings and versions", [Table(["what", "value"], facts, numeric=[])])
    unused = [f"{name}: {metric.meaning}" for name, metric in METRICS.items() if all(name != each.name for each in evaluation.metrics)]
    if unused:
        yield Details("Metrics that were not asked for", [Text("\n\n".join(unused))])


__all__ = ["report_page"]
