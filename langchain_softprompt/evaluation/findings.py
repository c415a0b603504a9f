"""Sittings become findings: scores, comparisons, confusions, worst cases, gaps and notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from langchain_softprompt.evaluation import words
from langchain_softprompt.evaluation.arms import Arm
from langchain_softprompt.evaluation.extras import need
from langchain_softprompt.evaluation.metrics import Measured, Metric, choose_metrics
from langchain_softprompt.evaluation.options import EvaluationOptions
from langchain_softprompt.evaluation.results import ArmResult, Case, Comparison, Confusion, Failure, Gap, Score
from langchain_softprompt.evaluation.statistics import Interval, difference_of, gap_of, interval_of
from langchain_softprompt.evaluation.trial import Rows, Sitting

NO_LABEL = "(none of them)"
_FEW_ROWS = 50


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """A sitting and what each metric made of it."""

    sitting: Sitting
    measured: Mapping[str, Measured]
    intervals: Mapping[str, Interval]

    @property
    def arm(self) -> Arm:
        """Whose sitting it was."""
        return self.sitting.arm


def score(sitting: Sitting, metrics: Sequence[Metric], mode_of: Callable[[Metric], str], target: str, options: EvaluationOptions) -> Scored:
    """Measure one arm's answers."""
    measured = {metric.name: metric.measure(sitting.judged(mode_of(metric), target)) for metric in metrics}
    intervals = {
        metric.name: interval_of(measured[metric.name], share=metric.scale == "share", seed=options.seed, resamples=options.resamples)
        for metric in metrics
    }
    return Scored(sitting, measured, intervals)


def arm_results(scored: Sequence[Scored]) -> tuple[ArmResult, ...]:
    """What each arm came to."""
    by_text = next((_read_tokens(each.sitting) for each in scored if each.arm.kind == "hard prompt"), None)
    return tuple(_arm_result(each, by_text) for each in scored)


def comparisons(scored: Sequence[Scored], metrics: Sequence[Metric], options: EvaluationOptions) -> tuple[Comparison, ...]:
    """Each soft prompt beside every arm after it, save what other soft prompts started as, metric by metric."""
    return tuple(
        _comparison(one, other, metric, options)
        for place, one in enumerate(scored)
        if one.arm.kind == "soft prompt"
        for other in scored[place + 1 :]
        if other.arm.kind != "initialisation" or other.arm.origin in {"", one.arm.origin or one.arm.name}
        for metric in metrics
    )


def confusions(scored: Sequence[Scored], labels: Sequence[str], target: str, options: EvaluationOptions) -> tuple[Confusion, ...]:
    """For each arm, which label was answered where which was wanted."""
    count = need("sklearn.metrics").confusion_matrix
    fold: Callable[[str], str] = str.casefold if options.ignore_case else str
    known = {fold(label.strip()): label for label in labels}
    names = (*labels, NO_LABEL)
    made = []
    for each in scored:
        mode = next(iter(each.sitting.answers), None)
        if mode is None:
            continue
        judged = each.sitting.judged(mode, target)
        wanted = [row.wanted for row in judged]
        given = [known.get(fold(row.answer.strip()), NO_LABEL) for row in judged]
        matrix = count(wanted, given, labels=list(names))
        made.append(Confusion(each.arm.name, names, tuple(tuple(int(cell) for cell in line) for line in matrix)))
    return tuple(made)


def worst_cases(scored: Sequence[Scored], metric: Metric, mode_of: Callable[[Metric], str], target: str, most: int) -> tuple[Case, ...]:
    """The rows that each soft prompt did worst on: by score, then by how unlikely it found the wanted answer.

    Rows with all the score there is are none of them.
    """
    cases: list[Case] = []
    for each in scored:
        if each.arm.kind != "soft prompt":
            continue
        mode = mode_of(metric)
        judged = each.sitting.judged(mode if mode in each.sitting.answers else next(iter(each.sitting.answers), mode), target)
        values = each.measured[metric.name].values
        made = [
            Case(
                each.arm.name,
                number + 1,
                {field: row.row[field] for field in each.arm.fields},
                row.wanted,
                row.answer,
                float(values[number]),
                None if row.likelihood is None else row.likelihood.total / len(row.likelihood.log_probs),
            )
            for number, row in enumerate(judged)
        ]
        sign = 1 if metric.higher_is_better else -1
        bounded = metric.scale == "share" and metric.higher_is_better
        made = [case for case in made if not math.isnan(case.score) and not (bounded and math.isclose(case.score, 1))]
        cases += sorted(made, key=lambda case: (sign * case.score, -math.inf if case.log_likelihood is None else case.log_likelihood))[
            :most
        ]
    return tuple(cases)


def gaps(scored: Sequence[Scored], seen: Sequence[Scored], metrics: Sequence[Metric], options: EvaluationOptions) -> tuple[Gap, ...]:
    """Each soft prompt on its training rows beside the evaluation rows."""
    new = {each.arm.name: each for each in scored}
    return tuple(_gap(each, new[each.arm.name], metric, options) for each in seen for metric in metrics)


def notes_on_free_answers(scored: Sequence[Scored], metric: Metric, mode: str, target: str, options: EvaluationOptions) -> tuple[str, ...]:
    """A warning for each soft prompt whose score is good only because its answers were held to the labels."""
    if mode != "choices":
        return ()
    (match,) = choose_metrics("text", ["exact_match"], ignore_case=options.ignore_case)
    return tuple(
        note
        for each in scored
        if each.arm.kind == "soft prompt" and "free" in each.sitting.answers
        for free in [match.measure(each.sitting.judged("free", target)).score]
        if (note := words.judge_free_answers(each.arm.name, metric.name, each.measured[metric.name].score, free))
    )


def notes(arms: Sequence[Arm], rows: Rows, train_rows: Rows, target: str, scored: Sequence[Scored]) -> tuple[str, ...]:
    """What a reader must know to trust the numbers, or not to."""
    made = []
    if len(rows) < _FEW_ROWS:
        few = "1 row is" if len(rows) == 1 else f"{len(rows)} rows are"
        drawn = [name for name, measured in scored[0].measured.items() if not measured.binary]
        narrow = (
            f" The intervals of {words.list_words(drawn)} are too narrow for so few." if drawn and len(rows) < words.FEWEST_ROWS else ""
        )
        made.append(f"{few} few: mind the intervals, and be slow to believe small differences.{narrow}")
    fields = sorted({field for arm in arms for field in arm.fields})
    known = {tuple(row.get(field) for field in fields) for row in train_rows}
    twice = sum(tuple(row.get(field) for field in fields) in known for row in rows)
    if twice:
        made.append(
            f"{twice} of {len(rows)} evaluation rows are also among the training rows: on them the soft prompt was not tested but "
            "reminded. Take them out of one of the two."
        )
    failed = {each.arm.name: len(_failures(each.sitting)) for each in scored}
    for name, count in failed.items():
        if count:
            made.append(f"{name}: {count} of {len(rows)} rows could not be answered and count as wrong.")
    if any(metric.known is not None and not metric.known.all() for each in scored for metric in each.measured.values()):
        made.append("Perplexity leaves out rows that do not fit the model's context.")
    return tuple(made)


def _arm_result(scored: Scored, by_text: float | None) -> ArmResult:
    sitting, arm = scored.sitting, scored.arm
    read = _read_tokens(sitting)
    return ArmResult(
        name=arm.name,
        kind=arm.kind,
        scores={name: Score(each.score, scored.intervals[name]) for name, each in scored.measured.items()},
        answers={mode: tuple(answer.text for answer in answers) for mode, answers in sitting.answers.items()},
        failures=_failures(sitting),
        cut=sum(answer.cut for answer in sitting.answers.get("free", ())),
        virtual_tokens=arm.soft_prompt.num_virtual_tokens if arm.soft_prompt is not None else 0,
        read_tokens=round(read, 2),
        saved_tokens=None if not by_text or arm.kind == "hard prompt" else 1 - read / by_text,
        soft_prompt_hash=arm.soft_prompt.content_hash if arm.soft_prompt is not None else None,
    )


def _read_tokens(sitting: Sitting) -> float:
    virtual = sitting.arm.soft_prompt.num_virtual_tokens if sitting.arm.soft_prompt is not None else 0
    return virtual + sum(len(example.text) for example in sitting.examples) / len(sitting.examples)


def _failures(sitting: Sitting) -> tuple[Failure, ...]:
    found: dict[int, str] = {}
    for answers in sitting.answers.values():
        for number, answer in enumerate(answers, start=1):
            if answer.failure:
                found.setdefault(number, answer.failure)
    return tuple(Failure(number, reason) for number, reason in sorted(found.items()))


def _comparison(one: Scored, other: Scored, metric: Metric, options: EvaluationOptions) -> Comparison:
    mine, theirs = one.measured[metric.name], other.measured[metric.name]
    difference = difference_of(mine, theirs, share=metric.scale == "share", seed=options.seed, resamples=options.resamples)
    better, verdict = words.compare(
        one.arm.name,
        other.arm.name,
        metric.name,
        (mine.score, theirs.score),
        difference,
        scale=metric.scale,
        higher_is_better=metric.higher_is_better,
        rows=len(mine.values),
    )
    return Comparison(
        metric.name,
        one.arm.name,
        other.arm.name,
        difference.value,
        difference.interval,
        difference.p_value,
        difference.test,
        better,
        verdict,
    )


def _gap(seen: Scored, new: Scored, metric: Metric, options: EvaluationOptions) -> Gap:
    learned, fresh = seen.measured[metric.name], new.measured[metric.name]
    one, other = (learned, fresh) if metric.higher_is_better else (fresh, learned)
    difference, interval = gap_of(one, other, share=metric.scale == "share", seed=options.seed, resamples=options.resamples)
    fewer = min(len(learned.values), len(fresh.values))
    level, verdict = words.judge_gap(learned.score, fresh.score, difference, interval, metric.name, metric.scale, rows=fewer)
    return Gap(seen.arm.name, metric.name, learned.score, len(learned.values), fresh.score, difference, interval, level, verdict)


__all__ = [
    "NO_LABEL",
    "Scored",
    "arm_results",
    "comparisons",
    "confusions",
    "gaps",
    "notes",
    "notes_on_free_answers",
    "score",
    "worst_cases",
]
