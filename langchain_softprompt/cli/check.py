"""``langchain-softprompt check``: does a soft prompt still do what it did when it was made?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from langchain_softprompt.cli.output import people, progress_bar, progress_on, say, show_json
from langchain_softprompt.cli.sources import load_soft_prompt
from langchain_softprompt.errors import EvaluationError

if TYPE_CHECKING:
    from langchain_softprompt.ageing import Ageing
    from langchain_softprompt.data import Row
    from langchain_softprompt.frozen_model import FrozenModel
    from langchain_softprompt.prefix import ProbeReport
    from langchain_softprompt.soft_prompt import SoftPrompt

DRIFTED, BROKEN, UNKNOWN = 3, 4, 5
_CODES = {"same": 0, "unknown": UNKNOWN, "drifted": DRIFTED, "broken": BROKEN}
_COLOURS = {"same": "green", "unknown": "dim", "drifted": "yellow", "broken": "bold red"}

_MODEL = "Model"
_WHAT = "What to check"
_OUTPUT = "Output"


def check(
    soft_prompts: Annotated[
        list[str], typer.Argument(help="Soft prompts, folders or Hub ids.", metavar="SOFT_PROMPT...", show_default=False)
    ],
    model: Annotated[
        str, typer.Option(help="Frozen model: 'embedded', a folder, a .gguf file or a Hub id.", rich_help_panel=_MODEL)
    ] = "embedded",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODEL)] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.", rich_help_panel=_MODEL)] = "auto",
    quantization: Annotated[str | None, typer.Option(help="int8, as it is served.", rich_help_panel=_MODEL)] = None,
    other_model: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--allow-other-model", help="Try a soft prompt made for another model.", rich_help_panel=_MODEL)
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="Rows: make the recorded evaluation again on them; with --record, probes.", rich_help_panel=_WHAT)
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels of that evaluation, with commas between; else those in the rows.", rich_help_panel=_WHAT)
    ] = None,
    record: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--record", help="Write probes into the folders, or renew those there.", rich_help_panel=_OUTPUT)
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.", rich_help_panel=_OUTPUT)] = False,  # noqa: FBT002 - a flag
) -> None:
    """Check whether soft prompts still do on this model what they did when they were made.

    Each soft prompt carries a few short texts and what the model said to them. They are read again; the worst of all decides.

    Exit code 0: same. 1: it can't be checked, one sentence says why. 2: the command line is wrong. 3: drifted. 4: broken.
    5: nothing was recorded to compare with.

    Example: langchain-softprompt check prompts/route --quantization int8
    """
    from langchain_softprompt.ageing import worst
    from langchain_softprompt.frozen_model import FrozenModel

    loaded = [load_soft_prompt(source) for source in soft_prompts]
    if record:
        for soft_prompt in loaded:
            _own_folder(soft_prompt)  # Before the work, not after it.
    rows = [_rows(soft_prompt, data, record=record) for soft_prompt in loaded]
    frozen = FrozenModel.load(model, dtype=dtype, device=device, quantization=quantization, packed=True)
    chosen = [label.strip() for label in labels.split(",") if label.strip()] if labels is not None else None
    found: list[tuple[Ageing, Ageing | None]] = []
    for soft_prompt, known in zip(loaded, rows, strict=True):
        if record:
            now, before = _record(frozen, soft_prompt, known, other_model=other_model)
        else:
            now, before = _check(frozen, soft_prompt, known, labels=chosen, other_model=other_model), None
        found.append((now, before))
        if not json:
            _tell(now, before)
    verdict = worst(now.verdict for now, _ in found)
    if json:
        checked = [{**now.to_json(), **({} if before is None else {"before": before.to_json()})} for now, before in found]
        show_json({"verdict": verdict, "recorded": record, "checked": checked})
    if _CODES[verdict]:
        raise typer.Exit(_CODES[verdict])


def _own_folder(soft_prompt: SoftPrompt) -> Path:
    if soft_prompt.folder is None:
        msg = f"record: {soft_prompt.source} is no folder on this machine, so probes can't be written into it. Save it to a folder first."
        raise EvaluationError(msg)
    return soft_prompt.folder


def _rows(soft_prompt: SoftPrompt, data: str | None, *, record: bool) -> list[Row] | None:
    from langchain_softprompt.ageing import evaluation_fields, input_fields
    from langchain_softprompt.data import read_rows

    if data is None:
        return None
    return read_rows(data, input_fields(soft_prompt) if record else evaluation_fields(soft_prompt))


def _check(model: FrozenModel, soft_prompt: SoftPrompt, rows: list[Row] | None, *, labels: list[str] | None, other_model: bool) -> Ageing:
    from langchain_softprompt.ageing import check_soft_prompt

    with progress_bar() as bar:
        return check_soft_prompt(model, soft_prompt, data=rows, labels=labels, allow_other_model=other_model, on_progress=progress_on(bar))


def _record(model: FrozenModel, soft_prompt: SoftPrompt, rows: list[Row] | None, *, other_model: bool) -> tuple[Ageing, Ageing | None]:
    """Write probes; returns what the soft prompt is like with them, and what it was like with those it had."""
    from langchain_softprompt.ageing import check_soft_prompt, record_again
    from langchain_softprompt.soft_prompt import SoftPrompt

    had = soft_prompt.manifest is not None and soft_prompt.manifest.probes is not None
    before = check_soft_prompt(model, soft_prompt, allow_other_model=other_model) if had else None
    folder = record_again(model, soft_prompt, rows, allow_other_model=other_model).save(_own_folder(soft_prompt))
    return check_soft_prompt(model, SoftPrompt.load(folder), allow_other_model=other_model), before


def _tell(now: Ageing, before: Ageing | None) -> None:
    title = Text.assemble((now.soft_prompt, "bold"), ": ", (now.verdict, _COLOURS[now.verdict]))
    table = Table(title=title, title_justify="left")
    for column in ("", "then", "now", ""):
        table.add_column(column, overflow="fold")
    for row in _lines(now):
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    people.print(table)
    if now.failure:
        say(now.failure)
    notes = [*now.notes, *(now.evaluation.notes if now.evaluation is not None else ())]
    notes += [f"probe {change.probe}: {change.what}" for change in now.template.changes]
    for note in notes:
        say(f"{note[:1].upper()}{note[1:]}.")
    if before is not None:
        say(f"Its probes are new. By those it had, it was: {before.verdict}" + (f" ({before.probes})." if before.probes else "."))
    say(now.next_step)


def _lines(now: Ageing) -> list[tuple[str | Text, ...]]:
    from langchain_softprompt.printable import printable

    identity, then, here = now.identity, now.identity.then, now.identity.now
    same = {True: "same", False: "other", None: "not recorded"}[identity.same_model]
    made_for = f"{printable(identity.made_for or '?')} {identity.recorded[:8]}"
    lines: list[tuple[str | Text, ...]] = [("model", made_for, f"{identity.name} {identity.fingerprint[:8]}", same)]
    for name in ("dtype", "quantization", "device", "transformers", "torch"):
        before, after = getattr(then, name), getattr(here, name)
        lines.append((name, printable(before) if before else "?", after, "" if before in {"", after} else "other"))
    if now.template.compared:
        lines.append(("chat template", f"{now.template.compared} probes", _template(now), _mark(now.template.verdict)))
    if now.probes is not None:
        lines.append(("probes", f"{len(now.probes.probes)} recorded", _distance(now.probes), _mark(now.probes.verdict)))
    if now.evaluation is not None:
        again = now.evaluation
        lines.append(("data", f"{again.recorded_rows} rows", f"{again.rows} rows", "same" if again.same_data else "other"))
        for one in again.scores:
            then_now = (_score(one.then, one.then_interval), _score(one.now, one.now_interval))
            lines.append((one.metric, *then_now, _mark(one.verdict)))
    return lines


def _template(now: Ageing) -> str:
    changed, effect = len(now.template.changes), now.template.effect
    if not changed:
        return "the same tokens"
    return f"{changed} rendered otherwise" + (f"; with that, {_distance(effect)}" if effect is not None else "")


def _distance(report: ProbeReport) -> str:
    if not math.isfinite(report.divergence):
        return str(report)
    return (
        f"off by {report.deviation:.2g} nats ({report.allowed:g} allowed), divergence {report.divergence:.2g} nats, "
        f"likeliest token changed on {report.changed_tokens}"
    )


def _score(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.4g}" + (f" ({interval[0]:.4g} to {interval[1]:.4g})" if interval is not None else "")


def _mark(verdict: str) -> Text:
    return Text(verdict, _COLOURS[verdict])


__all__ = ["BROKEN", "DRIFTED", "UNKNOWN", "check"]
