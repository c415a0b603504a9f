"""``langchain-softprompt inspect``: what is inside a soft prompt, and what of it does what it does?"""

from __future__ import annotations

import random
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_softprompt.cli.evaluation_input import make_folders
from langchain_softprompt.cli.output import progress_bar, progress_on, say, show_json
from langchain_softprompt.cli.sources import load_soft_prompt
from langchain_softprompt.errors import InvalidSettingsError, TrainingDataError

if TYPE_CHECKING:
    from langchain_softprompt.data import Row
    from langchain_softprompt.inspection import Inspection
    from langchain_softprompt.soft_prompt import SoftPrompt

_MODEL = "Model"
_INPUTS = "Inputs"
_OUTPUT = "Output"


def inspect(
    soft_prompt: Annotated[str, typer.Argument(help="Soft prompt, a folder or a Hub id.", metavar="SOFT_PROMPT", show_default=False)],
    model: Annotated[
        str, typer.Option(help="Frozen model: 'embedded', a folder, a .gguf file or a Hub id.", rich_help_panel=_MODEL)
    ] = "embedded",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODEL)] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.", rich_help_panel=_MODEL)] = "auto",
    task: Annotated[str | None, typer.Option(help="Task of a multitask prompt, its number or name.", rich_help_panel=_MODEL)] = None,
    other_model: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--allow-other-model", help="Take a soft prompt made for another model.", rich_help_panel=_MODEL)
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Inputs, .jsonl or .csv; else the probes it carries.", rich_help_panel=_INPUTS)] = None,
    target: Annotated[
        str | None, typer.Option(help="Field with the wanted answer; by default the one it was trained on.", rich_help_panel=_INPUTS)
    ] = None,
    input_field: Annotated[
        str | None, typer.Option("--input", help="Field to send, where it does not say what to send.", rich_help_panel=_INPUTS)
    ] = None,
    rows: Annotated[int, typer.Option(help="Watch it on so many rows, drawn by the seed.", min=1, rich_help_panel=_INPUTS)] = 32,
    ablation_rows: Annotated[
        int, typer.Option(help="Take it apart on so many of them; each is read once a virtual token.", min=1, rich_help_panel=_INPUTS)
    ] = 8,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.", min=1, rich_help_panel=_INPUTS)] = 24,
    seed: Annotated[int, typer.Option(help="Seed of the rows drawn.", rich_help_panel=_INPUTS)] = 0,
    initial: Annotated[
        str | None, typer.Option(help="What it started as, if that is not beside it.", rich_help_panel=_INPUTS, show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only identity, norms and drift.", rich_help_panel=_INPUTS)] = False,  # noqa: FBT002 - a flag
    report: Annotated[Path | None, typer.Option(help="Write the report, one HTML file.", rich_help_panel=_OUTPUT)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.", rich_help_panel=_OUTPUT)] = False,  # noqa: FBT002 - a flag
) -> None:
    """Look inside a soft prompt: what it is, how far it has moved, which of its virtual tokens matter, what it changes.

    Exit code 0: done. 1: it can't be done, one sentence says why. 2: the command line is wrong.

    Example: langchain-softprompt inspect prompts/route --data test.jsonl --report route.html
    """
    from langchain_softprompt.frozen_model import FrozenModel
    from langchain_softprompt.inspection import inspect_soft_prompt

    if quick and data is not None:
        msg = "quick: a quick inspection reads no inputs. Leave out either --quick or --data."
        raise InvalidSettingsError(msg)
    make_folders({"report": report})
    loaded = load_soft_prompt(soft_prompt, task=task)
    start = load_soft_prompt(initial) if initial is not None else None
    known, field = _read(loaded, data, target, input_field, quick=quick)
    drawn = random.Random(seed).sample(known, rows) if known is not None and rows < len(known) else known
    frozen = FrozenModel.load(model, dtype=dtype, device=device)
    with progress_bar() as bar:
        inspection = inspect_soft_prompt(
            frozen,
            loaded,
            drawn,
            target=field,
            input_field=input_field,
            initial=start,
            quick=quick,
            max_answer_tokens=max_tokens,
            ablation_rows=ablation_rows,
            allow_other_model=other_model,
            on_progress=progress_on(bar),
        )
    _write(inspection, report)
    if json:
        show_json({**inspection.to_json(), "report": str(report) if report is not None else None})
        return
    from langchain_softprompt.cli.inspection_output import show_inspection

    show_inspection(inspection)
    if report is not None:
        say(f"Report: {report}")


def _read(
    soft_prompt: SoftPrompt, data: Path | None, target: str | None, input_field: str | None, *, quick: bool
) -> tuple[list[Row] | None, str | None]:
    """The rows, and the field of the wanted answer where they have one."""
    from langchain_softprompt.data import fields_of, read_rows
    from langchain_softprompt.inspection.samples import inputs_of

    if data is None:
        if target is not None or input_field is not None:
            msg = "data: --target and --input are fields of rows. Name the rows as well: --data rows.jsonl."
            raise InvalidSettingsError(msg)
        if not quick:
            say("No --data: it is watched on what it carries itself, or on a few neutral sentences.")
        return None, None
    fields = fields_of(inputs_of(soft_prompt, input_field), soft_prompt.source)
    if target is not None:
        return read_rows(data, [*fields, target]), target
    trained = soft_prompt.manifest.training.get("target") if soft_prompt.manifest is not None else None
    if isinstance(trained, str) and trained:
        try:
            return read_rows(data, [*fields, trained]), trained
        except TrainingDataError as error:
            say(f"Its wanted answers are not taken from the data: {error}")
    return read_rows(data, fields), None


def _write(inspection: Inspection, report: Path | None) -> None:
    if report is None:
        return
    from langchain_softprompt.inspection.report import report_page

    command = shlex.join(["langchain-softprompt", *sys.argv[1:]]) if sys.argv[1:2] == ["inspect"] else ""
    report_page(inspection, command=command).write(report)


__all__ = ["inspect"]
