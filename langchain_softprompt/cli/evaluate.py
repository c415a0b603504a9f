"""``langchain-softprompt evaluate``: soft prompts and rows in, scores beside the baselines out."""

from __future__ import annotations

import random
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_softprompt.cli.output import progress_bar, say, show_json
from langchain_softprompt.errors import EvaluationError

if TYPE_CHECKING:
    from langchain_softprompt.data import HardPrompt
    from langchain_softprompt.evaluation import Arm, Evaluation, Metric
    from langchain_softprompt.soft_prompt import SoftPrompt

BELOW_LIMIT = 3

_DATA = "Data and prompt"
_BASELINES = "Baselines"
_SCORES = "Scores"
_RUN = "Run"
_OUTPUT = "Output"


def evaluate(
    soft_prompts: Annotated[list[str], typer.Argument(help="Soft prompts, folders or Hub ids; several are compared.", show_default=False)],
    data: Annotated[Path, typer.Option(help="Rows to judge on, .jsonl or .csv.", rich_help_panel=_DATA)],
    target: Annotated[
        str | None, typer.Option(help="Field with the wanted answer; by default the one it was trained on.", rich_help_panel=_DATA)
    ] = None,
    model: Annotated[
        str, typer.Option(help="Frozen model: 'embedded', a folder, a .gguf file or a Hub id.", rich_help_panel=_DATA)
    ] = "embedded",
    template: Annotated[
        Path | None, typer.Option(help="Hard prompt to compare with; by default the one it was made with.", rich_help_panel=_DATA)
    ] = None,
    input_field: Annotated[str | None, typer.Option("--input", help="Field to read, for a text template.", rich_help_panel=_DATA)] = None,
    train_data: Annotated[
        Path | None, typer.Option(help="Rows it was trained on: for few-shot examples and over-fitting.", rich_help_panel=_DATA)
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Judge on so many rows, drawn by the seed.", min=1, rich_help_panel=_DATA)] = None,
    baseline: Annotated[  # noqa: FBT002 - a flag
        bool,
        typer.Option("--baseline/--no-baseline", help="Compare with hard prompt, few-shot and initialisation.", rich_help_panel=_BASELINES),
    ] = True,
    few_shot: Annotated[
        int, typer.Option(help="Solved examples of the few-shot baseline; 0 for none.", min=0, rich_help_panel=_BASELINES)
    ] = 5,
    init_from: Annotated[
        str | None, typer.Option(help="What the first soft prompt started as, if it is not beside it.", rich_help_panel=_BASELINES)
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric by name, again for more; the first decides.", rich_help_panel=_SCORES)
    ] = None,
    function: Annotated[
        list[str] | None, typer.Option(help="Metric as module:function, from row and answer to a number.", rich_help_panel=_SCORES)
    ] = None,
    answers: Annotated[str, typer.Option(help="auto, free, choices (one of the labels) or both.", rich_help_panel=_SCORES)] = "auto",
    labels: Annotated[
        str | None, typer.Option(help="Labels with commas between, or a file with one a line.", rich_help_panel=_SCORES)
    ] = None,
    ignore_case: Annotated[bool, typer.Option("--ignore-case", help="Upper and lower case are the same.", rich_help_panel=_SCORES)] = False,  # noqa: FBT002 - a flag
    max_tokens: Annotated[
        int | None, typer.Option(help="Most tokens of a free answer; by default the longest wanted one's and 8.", rich_help_panel=_SCORES)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.", rich_help_panel=_RUN)] = 0,
    batch_rows: Annotated[int, typer.Option(help="Most rows answered together.", rich_help_panel=_RUN)] = 16,
    knowledge: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--knowledge/--no-knowledge", help="Look at what is left of the bare model.", rich_help_panel=_RUN)
    ] = True,
    other_model: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--allow-other-model", help="Take a soft prompt made for another model.", rich_help_panel=_RUN)
    ] = False,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_RUN)] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.", rich_help_panel=_RUN)] = "auto",
    report: Annotated[Path | None, typer.Option(help="Write the report, one HTML file.", rich_help_panel=_OUTPUT)] = None,
    save_answers: Annotated[Path | None, typer.Option(help="Write all answers, .jsonl.", rich_help_panel=_OUTPUT)] = None,
    record: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--record", help="Write the scores into each soft prompt's manifest.", rich_help_panel=_OUTPUT)
    ] = False,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(help=f"Exit with {BELOW_LIMIT} where a soft prompt scores worse: metric=0.8.", rich_help_panel=_OUTPUT),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.", rich_help_panel=_OUTPUT)] = False,  # noqa: FBT002 - a flag
) -> None:
    """Judge soft prompts beside their baselines, on rows they were not trained on.

    Exit code 0: done. 1: it can't be done, one sentence says why. 2: the command line is wrong. 3: a soft prompt scores worse
    than --fail-under asks for.

    Example: langchain-softprompt evaluate prompts/route --data test.jsonl --train-data train.jsonl --report route.html
    """
    from langchain_softprompt.evaluation import EvaluationOptions
    from langchain_softprompt.evaluation import evaluate as judge
    from langchain_softprompt.evaluation.baselines import baselines
    from langchain_softprompt.frozen_model import FrozenModel
    from langchain_softprompt.soft_prompt import SoftPrompt

    options = EvaluationOptions(
        answers=answers,
        max_tokens=max_tokens,
        ignore_case=ignore_case,
        seed=seed,
        knowledge=knowledge,
        allow_other_model=other_model,
        max_rows=batch_rows,
    )
    limits = _limits(fail_under or [])
    prompt = _template(template, input_field)
    soft = _soft_arms(soft_prompts, prompt)
    loaded = [arm.soft_prompt for arm in soft if arm.soft_prompt is not None]
    if record:
        _check_records(loaded)
    field = target or _trained_target(loaded)
    known = _read(data, soft, prompt, field)
    learned = _read(train_data, soft, prompt, field) if train_data is not None else []
    chosen, options_labels = _labels(labels, known, learned, field)
    judged = random.Random(seed).sample(known, rows) if rows is not None and rows < len(known) else known
    metrics = _metrics(
        metric or [], function or [], [row[field] for row in (*known, *learned)], labelled=chosen is not None, ignore_case=ignore_case
    )
    _check_limits(limits, metrics)
    frozen = FrozenModel.load(model, dtype=dtype, device=device, packed=True)
    init = SoftPrompt.load(Path(init_from) if Path(init_from).expanduser().is_dir() else init_from) if init_from else None
    others, left_out = (
        baselines(frozen, soft, judged, target=field, prompt=prompt, train_rows=learned, few_shot=few_shot, seed=seed, init_from=init)
        if baseline
        else ([], {"baselines": "--no-baseline was asked for"})
    )
    say(f"{len(judged)} rows of {data}, {len(soft) + len(others)} arms, on {frozen!r}")
    with progress_bar() as bar:
        tasks: dict[str, Any] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            task = tasks.setdefault(what, None)
            if task is None:
                task = tasks[what] = bar.add_task(what, total=total, numbers="")
            bar.update(task, completed=done)

        evaluation = judge(
            frozen,
            [*soft, *others],
            judged,
            target=field,
            metrics=metrics,
            labels=chosen,
            train_rows=learned,
            options=options,
            source=str(data),
            left_out=left_out,
            facts={"rows_drawn": len(judged) < len(known), "few_shot": few_shot if baseline else 0, **options_labels},
            on_progress=on_progress,
        )
    below = _below(evaluation, limits)
    _write(evaluation, soft, judged, report=report, save_answers=save_answers, record=record)
    _show(evaluation, below, report=report, as_json=json)
    if below:
        raise typer.Exit(BELOW_LIMIT)


def _limits(asked: Sequence[str]) -> dict[str, float]:
    limits = {}
    for text in asked:
        name, equals, number = text.rpartition("=")
        try:
            limits[name.strip()] = float(number)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            msg = f"fail-under: expected metric=number, for instance accuracy=0.8, found {text!r}."
            raise EvaluationError(msg)
    return limits


def _template(template: Path | None, input_field: str | None) -> HardPrompt | None:
    from langchain_softprompt.data import HardPrompt

    return HardPrompt.from_file(template, input_field=input_field) if template is not None else None


def _soft_arms(sources: Sequence[str], prompt: HardPrompt | None) -> list[Arm]:
    from langchain_softprompt.evaluation import soft_prompt_arm
    from langchain_softprompt.soft_prompt import SoftPrompt

    names = _names(sources)
    arms = []
    for source, name in zip(sources, names, strict=True):
        soft_prompt = SoftPrompt.load(Path(source) if Path(source).expanduser().is_dir() else source)
        says = soft_prompt.manifest is not None and soft_prompt.manifest.input_messages
        arms.append(soft_prompt_arm(soft_prompt, prompt=None if says else prompt, name=name))
    return arms


def _names(sources: Sequence[str]) -> list[str]:
    """Short names that differ: the last part of a path, with the one before where that tells little."""
    for count in (1, 2, 3):
        names = []
        for source in sources:
            parts = [part for part in source.replace("\\", "/").split("/") if part not in {"", "."}]
            more = count + 1 if parts[-1:] in (["best"], ["last"], ["initial"]) else count
            names.append("/".join(parts[-more:]) or source)
        if len(set(names)) == len(names):
            return names
    return list(sources)


def _trained_target(soft_prompts: Sequence[SoftPrompt]) -> str:
    for soft_prompt in soft_prompts:
        named = soft_prompt.manifest.training.get("target") if soft_prompt.manifest is not None else None
        if isinstance(named, str):
            return named
    msg = "target: the soft prompt does not say which field it was trained to answer with. Name it: --target label."
    raise EvaluationError(msg)


def _read(file: Path, soft: Sequence[Arm], prompt: HardPrompt | None, target: str) -> list[dict[str, str]]:
    from langchain_softprompt.data import read_rows
    from langchain_softprompt.evaluation import hard_prompt_of

    fields = [field for arm in soft for field in arm.fields]
    prompts = [prompt] if prompt is not None else [hard_prompt_of(arm.soft_prompt) for arm in soft if arm.soft_prompt is not None]
    fields += [field for hard in prompts if hard is not None for field in hard.fields]
    return read_rows(file, list(dict.fromkeys([*fields, target])))


def _labels(
    labels: str | None, known: Sequence[Mapping[str, str]], learned: Sequence[Mapping[str, str]], target: str
) -> tuple[list[str] | None, dict[str, str]]:
    """The labels asked for, or all there are in the data where it is labelled: also those of rows that are not drawn."""
    from langchain_softprompt.evaluation import guess_task

    if labels is not None:
        file = Path(labels)
        try:
            text = file.read_text(encoding="utf-8-sig").splitlines() if file.is_file() else labels.split(",")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"labels: {labels} can't be read: {error}."
            raise EvaluationError(msg) from error
        return [label.strip() for label in text if label.strip()], {"labels_from": "given"}
    wanted = [row[target] for row in (*known, *learned)]
    if guess_task(wanted) != "classification":
        return None, {}
    return sorted(set(wanted)), {"labels_from": "all rows of the data" + (" and the training data" if learned else "")}


def _metrics(names: Sequence[str], functions: Sequence[str], wanted: Sequence[str], *, labelled: bool, ignore_case: bool) -> list[Metric]:
    """The metrics asked for; functions alone come before those that fit the answers."""
    from langchain_softprompt.evaluation import guess_task, load_function
    from langchain_softprompt.evaluation.metrics import choose_metrics

    if functions and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # As `python -m` does: the user's module lies in this folder.
    task = "classification" if labelled else guess_task(wanted)
    made = [load_function(place) for place in functions]
    by_task = choose_metrics(task, ignore_case=ignore_case) if functions and not names else []
    return choose_metrics(task, [*names, *made, *by_task], ignore_case=ignore_case)


def _check_limits(limits: Mapping[str, float], metrics: Sequence[Metric]) -> None:
    names = [metric.name for metric in metrics]
    strange = next((name for name in limits if name not in names), None)
    if strange is not None:
        msg = f"fail-under: {strange} is not measured here. Measured are: {', '.join(names)}; ask for more with --metric."
        raise EvaluationError(msg)


def _below(evaluation: Evaluation, limits: Mapping[str, float]) -> list[str]:
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


def _check_records(soft_prompts: Sequence[SoftPrompt]) -> None:
    """Before the work, not after it."""
    for soft_prompt in soft_prompts:
        if soft_prompt.manifest is None or not Path(soft_prompt.source).expanduser().is_dir():
            msg = f"record: {soft_prompt.source} is no folder on this machine with a manifest, so scores can't be written into it."
            raise EvaluationError(msg)


def _write(
    evaluation: Evaluation,
    soft: Sequence[Arm],
    rows: Sequence[Mapping[str, str]],
    *,
    report: Path | None,
    save_answers: Path | None,
    record: bool,
) -> None:
    import json
    from dataclasses import replace

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
        folders = {arm.name: arm.soft_prompt.source for arm in soft if arm.soft_prompt is not None}
        command = shlex.join(["langchain-softprompt", *sys.argv[1:]]) if sys.argv[1:2] == ["evaluate"] else ""
        report_page(evaluation, command=command, folders=folders).write(report)
    if record:
        for arm in soft:
            if arm.soft_prompt is not None and arm.soft_prompt.manifest is not None:
                manifest = arm.soft_prompt.manifest.model_copy(update={"evaluation": evaluation.record(arm.name)})
                replace(arm.soft_prompt, manifest=manifest).save(Path(arm.soft_prompt.source).expanduser())


def _show(evaluation: Evaluation, below: Sequence[str], *, report: Path | None, as_json: bool) -> None:
    from langchain_softprompt.cli.scores import show_scores

    if as_json:
        facts = evaluation.to_json()
        for arm in facts["arms"]:
            del arm["answers"]
        show_json({**facts, "below_limit": list(below), "report": str(report) if report is not None else None})
        return
    show_scores(evaluation)
    for line in below:
        say(f"Below the limit: {line}.")
    if report is not None:
        say(f"Report: {report}")
