"""``langchain-softprompt train``: a hard prompt and rows in, a run folder with a soft prompt out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_softprompt.cli.output import people
from langchain_softprompt.cli.resuming import INTERRUPTED, absolute, asked_for, is_done, recorded, stopped, usage_error
from langchain_softprompt.cli.sources import load_soft_prompt
from langchain_softprompt.cli.training_output import Screen, tell_folds, tell_result
from langchain_softprompt.errors import InvalidSettingsError

if TYPE_CHECKING:
    from langchain_softprompt.settings import TrainingSettings
    from langchain_softprompt.soft_prompt import SoftPrompt

_DATA = "Data and prompt"
_METHOD = "Method"
_RUN = "Training"
_RECORD = "Manifest"
_FOLDS = "folds"
_HELD_OUT = 0.1
_OPTIONS = {"folds": "folds", "input_field": "input"}
_NEEDED = ("template", "data")


def train(
    context: typer.Context,
    output: Annotated[Path, typer.Option(help="Folder of the run; the soft prompt to use is in it, in best/.", rich_help_panel=_DATA)],
    template: Annotated[
        Path | None, typer.Option(help="Hard prompt: .json with roles and {fields}, or a text file of instructions.", rich_help_panel=_DATA)
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Training rows, or chats: .jsonl, .csv, .parquet, or a datasets folder.", rich_help_panel=_DATA)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Field of the rows to answer with; none for chats.", rich_help_panel=_DATA),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Frozen model: 'embedded', a folder, a .gguf file or a Hub id.", rich_help_panel=_DATA)
    ] = "embedded",
    validation: Annotated[
        str | None, typer.Option(help="Rows to choose the best step on; by default a tenth of the data.", rich_help_panel=_DATA)
    ] = None,
    input_field: Annotated[str | None, typer.Option("--input", help="Field to read, for a text template.", rich_help_panel=_DATA)] = None,
    folds: Annotated[
        int | None, typer.Option(help="Train and judge on so many folds first; 5 under 200 rows, 0 for none.", rich_help_panel=_DATA)
    ] = None,
    method: Annotated[str, typer.Option(help="kv-prefix or prompt-tuning.", rich_help_panel=_METHOD)] = "kv-prefix",
    start: Annotated[str, typer.Option(help="What it starts as: hard-prompt or vocabulary.", rich_help_panel=_METHOD)] = "hard-prompt",
    start_from: Annotated[str | None, typer.Option(help="Another soft prompt to start as.", rich_help_panel=_METHOD)] = None,
    residual: Annotated[bool, typer.Option("--residual", help="Through a bypassed network.", rich_help_panel=_METHOD)] = False,  # noqa: FBT002
    virtual_tokens: Annotated[
        int | None, typer.Option(help="Length; by default that of the instructions.", rich_help_panel=_METHOD)
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; by default five passes over the data.", rich_help_panel=_RUN)] = None,
    batch_size: Annotated[int, typer.Option(help="Rows a step.", rich_help_panel=_RUN)] = 16,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate; by default found by trying.", rich_help_panel=_RUN)
    ] = None,
    evaluate_every: Annotated[int | None, typer.Option(help="Steps between looks at the validation rows.", rich_help_panel=_RUN)] = None,
    select: Annotated[str, typer.Option(help="What makes a step the best: exact-match or loss.", rich_help_panel=_RUN)] = "exact-match",
    patience: Annotated[int, typer.Option(help="Looks without a better step that end the run; 0 for never.", rich_help_panel=_RUN)] = 5,
    validation_rows: Annotated[int, typer.Option(help="Most validation rows looked at.", rich_help_panel=_RUN)] = 256,
    max_tokens: Annotated[int, typer.Option(help="Longest row in tokens.", rich_help_panel=_RUN)] = 512,
    seed: Annotated[int, typer.Option(help="Seed of the data order and of what is drawn.", rich_help_panel=_RUN)] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_RUN)] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.", rich_help_panel=_RUN)] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.", rich_help_panel=_RUN)] = False,  # noqa: FBT002
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the output folder.", rich_help_panel=_RUN)] = False,  # noqa: FBT002
    description: Annotated[str, typer.Option(help="What the soft prompt does.", rich_help_panel=_RECORD)] = "",
    source: Annotated[str, typer.Option(help="Where the data came from.", rich_help_panel=_RECORD)] = "",
    licence: Annotated[str, typer.Option(help="Licence of the data.", rich_help_panel=_RECORD)] = "",
    no_probes: Annotated[bool, typer.Option("--no-probes", help="Keep nothing of rows in it.", rich_help_panel=_RECORD)] = False,  # noqa: FBT002
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,  # noqa: FBT002
) -> None:
    """Train a soft prompt that starts as your hard prompt; the best step on validation rows is kept.

    Example: langchain-softprompt train --template route.json --data train.jsonl --target label --output runs/route

    Chats with tool calls: langchain-softprompt train --template instructions.txt --data chats.jsonl --output runs/tools

    Killed or stopped: langchain-softprompt train --resume --output runs/route
    """
    if resume:
        asked = recorded(context, output, (*_NEEDED, "target"))
    else:
        asked = asked_for(context)
        for name in _NEEDED:
            if asked[name] is None:
                problem = f"--{name} is missing. A new run needs --template and --data, rows --target, too; an old one --resume."
                raise usage_error(context, problem)
    try:
        soft_prompt, interrupted = _train(asked, output, resume=resume, overwrite=overwrite)
    except KeyboardInterrupt:
        raise stopped(context, output) from None
    tell_result(output, soft_prompt, as_json=json, interrupted=interrupted)
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _train(asked: dict[str, Any], output: Path, *, resume: bool, overwrite: bool) -> tuple[SoftPrompt, bool]:
    import torch

    from langchain_softprompt import training
    from langchain_softprompt.settings import TrainingSettings

    settings = TrainingSettings(
        method=asked["method"],
        start=asked["start"],
        residual=asked["residual"],
        virtual_tokens=asked["virtual_tokens"],
        max_steps=asked["steps"],
        batch_size=asked["batch_size"],
        learning_rate=asked["learning_rate"],
        evaluate_every=asked["evaluate_every"],
        select_by=asked["select"],
        patience=asked["patience"] or None,
        validation_rows=asked["validation_rows"],
        max_tokens=asked["max_tokens"],
        seed=asked["seed"],
    )
    if resume:
        torch.set_num_threads(asked["threads"])
    else:
        asked = {
            **asked,
            "threads": torch.get_num_threads(),
            **{name: absolute(asked[name]) for name in ("template", "data", "validation")},
        }
        training.RunFolder.check_free(output, overwrite=overwrite)
    learn = _on_chats if asked["target"] is None else _on_rows
    made = learn(asked, settings, output, resume=resume, overwrite=overwrite)
    shutil.rmtree(output / _FOLDS, ignore_errors=True)
    return made, not is_done(output)


def _on_chats(asked: dict[str, Any], settings: TrainingSettings, output: Path, *, resume: bool, overwrite: bool) -> SoftPrompt:
    from langchain_softprompt import training
    from langchain_softprompt.data import hold_out_any, read_text
    from langchain_softprompt.frozen_model import FrozenModel

    for name in ("folds", "input_field"):
        if asked[name]:
            msg = f"{_OPTIONS[name]}: goes with --target, the field of the rows to answer with. Give it, or leave --{_OPTIONS[name]} out."
            raise InvalidSettingsError(msg)
    instructions = read_text(asked["template"])
    chats = training.read_chats(asked["data"])
    watched = training.read_chats(asked["validation"]) if asked["validation"] else []
    if not watched:
        chats, watched = hold_out_any(chats, _HELD_OUT, seed=settings.seed)
    if not resume:
        training.RunFolder.announce(output, asked, overwrite=overwrite)
    begun = training.RunFolder(output).begun
    frozen = FrozenModel.load(asked["model"], dtype=asked["dtype"], device=asked["device"])
    with Screen(frozen) as screen:
        return training.train_on_chats(
            frozen, instructions, chats, watched, settings=settings, **_of_run(asked, output, begun=begun), watcher=screen
        )


def _on_rows(asked: dict[str, Any], settings: TrainingSettings, output: Path, *, resume: bool, overwrite: bool) -> SoftPrompt:
    from langchain_softprompt import training
    from langchain_softprompt.data import hold_out
    from langchain_softprompt.frozen_model import FrozenModel

    target = asked["target"]
    prompt = training.HardPrompt.from_file(asked["template"], input_field=asked["input_field"])
    prompt.check_target(target)
    fields = [*prompt.fields, target]
    rows = training.read_rows(asked["data"], fields)
    if asked["folds"] and asked["validation"]:
        msg = "folds: with --validation the rows to judge on are there already. Give one of the two."
        raise InvalidSettingsError(msg)
    watched = training.read_rows(asked["validation"], fields) if asked["validation"] else []
    few = len(rows) < training.FEW_ROWS and not watched
    count = asked["folds"] if asked["folds"] is not None else (5 if few else 0)
    if count == 1 or count < 0:
        msg = f"folds: expected 2 or more, or 0 for none, found {count}."
        raise InvalidSettingsError(msg)
    if count > len(rows):
        msg = f"folds: expected a number from 2 to the {len(rows)} rows there are, found {count}."
        raise InvalidSettingsError(msg)
    if not resume:
        training.RunFolder.announce(output, asked, overwrite=overwrite)
    begun = training.RunFolder(output).begun
    if not watched and not count:
        rows, watched = hold_out(rows, _HELD_OUT, target=target, seed=settings.seed)
    frozen = FrozenModel.load(asked["model"], dtype=asked["dtype"], device=asked["device"])
    with Screen(frozen) as screen:
        if count and not watched:
            first = load_soft_prompt(asked["start_from"]) if asked["start_from"] else None
            settings, asked = _fold_first(frozen, prompt, rows, settings, first, screen, {**asked, "count": count}, output)
        return training.train(
            frozen,
            prompt,
            rows,
            watched,
            target=target,
            settings=settings,
            **_of_run(asked, output, begun=begun),
            facts=asked.get("found"),
            watcher=screen,
        )


def _of_run(asked: dict[str, Any], output: Path, *, begun: bool) -> dict[str, Any]:
    """What both kinds of training take."""
    return {
        "start_from": load_soft_prompt(asked["start_from"]) if asked["start_from"] else None,
        "description": asked["description"],
        "source": asked["source"] or Path(asked["data"]).name,
        "licence": asked["licence"],
        "output": output,
        "resume": begun,
        "overwrite": not begun,
        "notes": asked,
        "probes": not asked["no_probes"],
    }


def _fold_first(
    frozen: Any, prompt: Any, rows: Any, settings: Any, first: Any, screen: Screen, asked: dict[str, Any], output: Path
) -> tuple[Any, dict[str, Any]]:
    """Few rows: judge on folds, then train on all of them for as many steps as were best there."""
    from langchain_softprompt import training

    if "chosen" in asked:
        return settings.override(**asked["chosen"]), asked
    people.print(f"{len(rows)} rows are few, so all of them are learned from and {asked['count']} folds say how good that will be.")
    found = training.cross_validate(
        frozen,
        prompt,
        rows,
        target=asked["target"],
        count=asked["count"],
        settings=settings,
        start_from=first,
        output=output / _FOLDS,
        resume=True,
        watcher=screen,
    )
    tell_folds(found)
    chosen = {"max_steps": found.steps, "learning_rate": found.learning_rate}
    return settings.override(**chosen), {**asked, "chosen": chosen, "found": found.facts()}
