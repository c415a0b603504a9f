"""``langchain-softprompt train``: a hard prompt and rows in, a soft-prompt folder out."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

import typer

from langchain_softprompt.cli.output import progress_bar, say, show_json
from langchain_softprompt.errors import InvalidSettingsError

_DATA = "Data and prompt"
_RUN = "Training"
_RECORD = "Manifest"


def train(
    template: Annotated[
        Path, typer.Option(help="Hard prompt: .json with roles and {fields}, or a text file of instructions.", rich_help_panel=_DATA)
    ],
    data: Annotated[Path, typer.Option(help="Training rows, .jsonl or .csv.", rich_help_panel=_DATA)],
    target: Annotated[str, typer.Option(help="Field of the rows to answer with.", rich_help_panel=_DATA)],
    output: Annotated[Path, typer.Option(help="Folder to write the soft prompt to.", rich_help_panel=_DATA)],
    model: Annotated[
        str, typer.Option(help="Frozen model: 'embedded', a folder, a .gguf file or a Hub id.", rich_help_panel=_DATA)
    ] = "embedded",
    validation: Annotated[
        Path | None, typer.Option(help="Rows to choose the best step on; by default a tenth of the data.", rich_help_panel=_DATA)
    ] = None,
    input_field: Annotated[str | None, typer.Option("--input", help="Field to read, for a text template.", rich_help_panel=_DATA)] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.", rich_help_panel=_RUN)] = 400,
    batch_size: Annotated[int, typer.Option(help="Rows a step.", rich_help_panel=_RUN)] = 16,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.", rich_help_panel=_RUN)] = 5e-3,
    virtual_tokens: Annotated[int | None, typer.Option(help="Length; by default that of the instructions.", rich_help_panel=_RUN)] = None,
    evaluate_every: Annotated[int, typer.Option(help="Steps between looks at the validation rows.", rich_help_panel=_RUN)] = 50,
    seed: Annotated[int, typer.Option(help="Seed of the data order.", rich_help_panel=_RUN)] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_RUN)] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.", rich_help_panel=_RUN)] = "auto",
    description: Annotated[str, typer.Option(help="What the soft prompt does.", rich_help_panel=_RECORD)] = "",
    source: Annotated[str, typer.Option(help="Where the data came from.", rich_help_panel=_RECORD)] = "",
    licence: Annotated[str, typer.Option(help="Licence of the data.", rich_help_panel=_RECORD)] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Train a soft prompt that starts as your hard prompt; the best step on validation rows is kept.

    Example: langchain-softprompt train --template route.json --data train.jsonl --target label --output prompts/route
    """
    from langchain_softprompt import training
    from langchain_softprompt.frozen_model import FrozenModel
    from langchain_softprompt.settings import TrainingSettings

    settings = TrainingSettings(
        max_steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        virtual_tokens=virtual_tokens,
        evaluate_every=evaluate_every,
        seed=seed,
    )
    _make_folder(output)
    prompt = training.HardPrompt.from_file(template, input_field=input_field)
    fields = [*prompt.fields, target]
    rows = training.read_rows(data, fields)
    if validation is None:
        random.Random(seed).shuffle(rows)
        share = max(1, len(rows) // 10)
        watched, rows = rows[:share], rows[share:]
    else:
        watched = training.read_rows(validation, fields)
    frozen = FrozenModel.load(model, dtype=dtype, device=device)
    say(f"{len(rows)} rows to learn from, {len(watched)} to choose the best step on, {steps} steps of {batch_size} rows on {frozen!r}")
    with progress_bar() as bar:
        task = bar.add_task("training", total=steps, numbers="")

        def on_step(report: training.StepReport) -> None:
            numbers = f"loss {report.loss:.3f}  {report.tokens / max(report.seconds, 1e-9):.0f} tokens/s"
            bar.update(task, completed=report.step, numbers=numbers)
            if report.validation_loss is not None:
                mark = "  (best so far)" if report.best else ""
                say(f"step {report.step}: loss {report.loss:.4f}, validation loss {report.validation_loss:.4f}{mark}")

        soft_prompt = training.train(
            frozen,
            prompt,
            rows,
            watched,
            target=target,
            settings=settings,
            description=description,
            source=source or data.name,
            licence=licence,
            on_step=on_step,
        )
    soft_prompt.save(output)
    _report(output, soft_prompt.manifest.scores if soft_prompt.manifest else {}, soft_prompt.num_virtual_tokens, as_json=json)


def _make_folder(output: Path) -> None:
    """Before the training, not after it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"output: can't make the folder {output}: {error}. Choose another one."
        raise InvalidSettingsError(msg) from error


def _report(output: Path, scores: dict[str, float], virtual_tokens: int, *, as_json: bool) -> None:
    size = sum(file.stat().st_size for file in output.iterdir() if file.is_file())
    if as_json:
        show_json({"output": str(output), "virtual_tokens": virtual_tokens, "bytes": size, **scores})
        return
    before, after = scores.get("initial_validation_loss", 0.0), scores.get("validation_loss", 0.0)
    say(f"Saved {output}: {virtual_tokens} virtual tokens, {size / 1024:.0f} KiB; validation loss {before:.3f} -> {after:.3f}")
