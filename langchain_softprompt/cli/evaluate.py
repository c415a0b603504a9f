"""``langchain-softprompt evaluate``: soft prompts and rows in, scores beside the baselines out."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

import typer

from langchain_softprompt.cli.evaluation_folds import check_folds, choose_folds, fold_arms, fold_shots
from langchain_softprompt.cli.evaluation_input import (
    check_limits,
    check_records,
    choose_labels,
    chosen_metrics,
    load_arms,
    make_folders,
    read_data,
    read_limits,
    read_template,
    trained_target,
)
from langchain_softprompt.cli.evaluation_output import below_limits, show_evaluation, write_evaluation
from langchain_softprompt.cli.output import progress_bar, progress_on, say
from langchain_softprompt.cli.sources import load_soft_prompt

BELOW_LIMIT = 3

_DATA = "Data and prompt"
_BASELINES = "Baselines"
_SCORES = "Scores"
_RUN = "Run"
_OUTPUT = "Output"


def evaluate(
    soft_prompts: Annotated[
        list[str],
        typer.Argument(help="Soft prompts, folders or Hub ids; several are compared.", metavar="SOFT_PROMPT...", show_default=False),
    ],
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
    folds: Annotated[
        int | None,
        typer.Option(
            help="Train anew on so many folds of the data and judge these; 5 on fewer than 200 rows it was trained on, 0 for none.",
            min=0,
            rich_help_panel=_DATA,
        ),
    ] = None,
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
    from langchain_softprompt.evaluation import EvaluationOptions, baselines
    from langchain_softprompt.evaluation import evaluate as judge
    from langchain_softprompt.frozen_model import FrozenModel

    options = EvaluationOptions(
        answers=answers,
        max_tokens=max_tokens,
        ignore_case=ignore_case,
        seed=seed,
        knowledge=knowledge,
        allow_other_model=other_model,
        max_rows=batch_rows,
    )
    limits = read_limits(fail_under or [])
    make_folders({"report": report, "save-answers": save_answers})
    prompt = read_template(template, input_field)
    soft = load_arms(soft_prompts, prompt)
    loaded = [arm.soft_prompt for arm in soft if arm.soft_prompt is not None]
    if record:
        check_records(loaded)
    field = target or trained_target(loaded)
    known = read_data(data, soft, prompt, field)
    count = choose_folds(folds, soft, known)
    if count:
        check_folds(soft, record=record)
    learned = read_data(train_data, soft, prompt, field) if train_data is not None else []
    chosen, options_labels = choose_labels(labels, known, learned, field)
    judged = random.Random(seed).sample(known, rows) if rows is not None and rows < len(known) else known
    metrics = chosen_metrics(
        metric or [], function or [], [row[field] for row in (*known, *learned)], labelled=chosen is not None, ignore_case=ignore_case
    )
    check_limits(limits, metrics)
    frozen = FrozenModel.load(model, dtype=dtype, device=device, packed=not count)
    init = load_soft_prompt(init_from) if init_from else None
    shots = 0 if count else few_shot  # With folds, examples come from the other folds.
    others, left_out = (
        baselines(frozen, soft, judged, target=field, prompt=prompt, train_rows=learned, few_shot=shots, seed=seed, init_from=init)
        if baseline
        else ([], {"baselines": "--no-baseline was asked for"})
    )
    if count:
        if baseline and few_shot:
            drawn, not_drawn = fold_shots(soft, prompt, judged, count, few_shot, target=field, seed=seed)
            others, left_out = [*others, *drawn], left_out | not_drawn
        soft, not_asked = fold_arms(frozen, soft, judged, count, target=field, init_from=init)
        left_out |= not_asked
    say(f"{len(judged)} rows of {data}, {len(soft) + len(others)} arms, on {frozen!r}")
    with progress_bar() as bar:
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
            facts={"rows_drawn": len(judged) < len(known), "few_shot": few_shot if baseline else 0, "folds": count, **options_labels},
            on_progress=progress_on(bar),
        )
    below = below_limits(evaluation, limits)
    write_evaluation(evaluation, soft, judged, report=report, save_answers=save_answers, record=record)
    show_evaluation(evaluation, below, report=report, as_json=json)
    if below:
        raise typer.Exit(BELOW_LIMIT)
