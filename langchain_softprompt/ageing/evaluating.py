"""The recorded evaluation, made again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from langchain_softprompt.ageing.findings import EvaluationAgain, ScoreAgain
from langchain_softprompt.data import digest_rows
from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.evaluation import METRICS, Evaluation, EvaluationOptions, evaluate, hard_prompt_of, soft_prompt_arm
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.printable import printable
from langchain_softprompt.soft_prompt import EvaluationRecord, SoftPrompt

Rows = Sequence[Mapping[str, str]]
OnProgress = Callable[[str, int, int], None]

_ARM = "soft prompt"
_ANSWERS = {"choices": "choices", "free": "free", "choices and free": "both"}


def evaluation_fields(soft_prompt: SoftPrompt) -> list[str]:
    """The fields of a row that the recorded evaluation needs.

    Raises:
        EvaluationError: No evaluation was recorded, or the manifest does not say which messages to send.
    """
    record = _record(soft_prompt)
    hard = hard_prompt_of(soft_prompt)
    fields = [*soft_prompt_arm(soft_prompt).fields, *(hard.fields if hard is not None else ()), record.target]
    return list(dict.fromkeys(fields))


def evaluate_again(
    model: FrozenModel,
    soft_prompt: SoftPrompt,
    rows: Rows,
    *,
    labels: Sequence[str] | None = None,
    allow_other_model: bool = False,
    on_progress: OnProgress | None = None,
) -> EvaluationAgain:
    """Make the recorded evaluation again: the same metrics and settings, today's model.

    Args:
        model: The frozen model.
        soft_prompt: The soft prompt, without probes, as they were read already.
        rows: The rows of the record, or others of the same kind; where rows were drawn then, all those they were drawn from.
        labels: What answers there are, where the rows don't show them all.
        allow_other_model: Take a soft prompt that was made for another model.
        on_progress: Told what is done, how much of it, and of how much.

    Raises:
        EvaluationError: No evaluation was recorded, or none of its metrics is known here.
        TrainingDataError: A row lacks a field.
        MissingExtraError: The extra ``eval`` is not installed.
    """
    record = _record(soft_prompt)
    fields = evaluation_fields(soft_prompt)
    plain = [{field: row[field] for field in fields if field in row} for row in rows]
    judged, same_data = _rows_of(record, plain)
    names = [name for name in record.scores if name in METRICS]
    notes = [f"{printable(name)} is not measured again: it is no metric of this package" for name in record.scores if _is_foreign(name)]
    if not names:
        msg = f"None of the scores recorded in {printable(soft_prompt.source)} is a metric of this package, so it can't be made again."
        raise EvaluationError(msg)
    if record.settings.get("task") == "classification" and labels is None:
        labels = sorted({row[record.target] for row in plain if record.target in row})
    made = evaluate(
        model,
        [soft_prompt_arm(soft_prompt, name=_ARM)],
        judged,
        target=record.target,
        metrics=_in_recorded_order(record, names),
        labels=labels,
        options=_options(record, allow_other_model=allow_other_model),
        on_progress=on_progress,
    )
    notes += _notes(record, made)
    return EvaluationAgain(same_data, len(judged), record.rows, _scores(record, made, names, same_data=same_data), tuple(notes))


def _record(soft_prompt: SoftPrompt) -> EvaluationRecord:
    record = soft_prompt.manifest.evaluation if soft_prompt.manifest is not None else None
    if record is None:
        msg = (
            f"{printable(soft_prompt.source)} has no recorded evaluation to make again. "
            "Record one: langchain-softprompt evaluate --data ROWS --record."
        )
        raise EvaluationError(msg)
    return record


def _is_foreign(name: str) -> bool:
    """Whether a score is neither one that can be measured here nor a baseline's, as in ``"hard prompt/accuracy"``."""
    return name.rpartition("/")[2] not in METRICS


def _rows_of(record: EvaluationRecord, rows: list[dict[str, str]]) -> tuple[list[dict[str, str]], bool]:
    """The rows of the record where they are among these, drawn as they were drawn then; else all of these."""
    if digest_rows(rows) == record.data:
        return rows, True
    seed = record.settings.get("seed")
    if isinstance(seed, int) and record.rows < len(rows):
        drawn = random.Random(seed).sample(rows, record.rows)
        if digest_rows(drawn) == record.data:
            return drawn, True
    return rows, False


def _in_recorded_order(record: EvaluationRecord, names: list[str]) -> list[str]:
    """The first one decides in verdicts."""
    listed = [name.strip() for name in str(record.settings.get("metrics", "")).split(",")]
    return sorted(names, key=lambda name: listed.index(name) if name in listed else len(listed))


def _options(record: EvaluationRecord, *, allow_other_model: bool) -> EvaluationOptions:
    """The recorded settings; one that a stranger's file has out of range is left at its default."""
    settings = record.settings
    usual = EvaluationOptions()
    return EvaluationOptions(
        answers=_ANSWERS.get(str(settings.get("answers")), "auto"),
        max_tokens=_number(settings, "max_tokens", (1, 4096)),
        ignore_case=settings.get("ignore_case") is True,
        seed=_number(settings, "seed", (0, 1 << 53)) or 0,
        resamples=_number(settings, "resamples", (100, 10_000)) or usual.resamples,
        worst=0,
        knowledge=False,
        allow_other_model=allow_other_model,
    )


def _number(settings: Mapping[str, object], name: str, limits: tuple[int, int]) -> int | None:
    value = settings.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and limits[0] <= value <= limits[1] else None


def _scores(record: EvaluationRecord, made: Evaluation, names: list[str], *, same_data: bool) -> tuple[ScoreAgain, ...]:
    scores = []
    for name in names:
        facts, now = made.metric(name), made.arm(_ARM).scores[name]
        interval = record.intervals.get(name)
        scores.append(
            ScoreAgain(
                metric=name,
                higher_is_better=facts.higher_is_better,
                scale=facts.scale,
                then=record.scores[name],
                then_interval=(interval[0], interval[1]) if interval is not None else None,
                now=now.value,
                now_interval=(now.interval.low, now.interval.high),
                same_data=same_data,
            )
        )
    return tuple(scores)


def _notes(record: EvaluationRecord, made: Evaluation) -> list[str]:
    notes = []
    for name, what in (("labels", "labels to choose from"), ("answers", "way of answering"), ("max_tokens", "most tokens of an answer")):
        then, now = record.settings.get(name), made.settings.get(name)
        if then is not None and then != now:
            notes.append(f"{what}: {printable(then)} then, {now} now, so the scores are not quite comparable")
    failed = len(made.arm(_ARM).failures)
    return [*notes, *([f"{failed} rows could not be answered and count as wrong"] if failed else [])]


__all__ = ["evaluate_again", "evaluation_fields"]
