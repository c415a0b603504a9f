"""``langchain-softprompt distill``: a long hard prompt becomes a short soft prompt, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_softprompt.cli.output import progress_bar, say, show_json
from langchain_softprompt.cli.resuming import INTERRUPTED, absolute, asked_for, is_done, recorded, stopped, usage_error
from langchain_softprompt.cli.sources import load_soft_prompt
from langchain_softprompt.cli.training_output import Screen, tell_stopped

if TYPE_CHECKING:
    from langchain_softprompt.training import Distillation

_DATA = "Prompt and texts"
_RUN = "Training"
_RECORD = "Manifest"
_SCORING = ("test", "target")


def distill(
    context: typer.Context,
    output: Annotated[Path, typer.Option(help="Folder of the run; the soft prompt to use is in it, in best/.", rich_help_panel=_DATA)],
    template: Annotated[
        Path | None,
        typer.Option(help="The long hard prompt, .json: instructions, examples, {fields}; or a text file.", rich_help_panel=_DATA),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Texts, .jsonl or .csv; answers are not needed.", rich_help_panel=_DATA)] = None,
    input_field: Annotated[str | None, typer.Option("--input", help="Field to read, for a text template.", rich_help_panel=_DATA)] = None,
    self_made: Annotated[int, typer.Option(help="So many texts that the model makes up itself.", min=0, rich_help_panel=_DATA)] = 0,
    model: Annotated[
        str, typer.Option(help="Frozen model: 'embedded', a folder, a .gguf file or a Hub id.", rich_help_panel=_DATA)
    ] = "embedded",
    test: Annotated[str | None, typer.Option(help="Rows with answers, to score both prompts on.", rich_help_panel=_DATA)] = None,
    target: Annotated[str | None, typer.Option(help="Field of those rows that holds the answer.", rich_help_panel=_DATA)] = None,
    virtual_tokens: Annotated[
        int | None, typer.Option(help="Length; by default a tenth of the long prompt's.", rich_help_panel=_RUN)
    ] = None,
    method: Annotated[str, typer.Option(help="kv-prefix or prompt-tuning.", rich_help_panel=_RUN)] = "kv-prefix",
    start_from: Annotated[str | None, typer.Option(help="Another soft prompt to start as.", rich_help_panel=_RUN)] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; by default five passes over the texts.", rich_help_panel=_RUN)] = None,
    batch_size: Annotated[int, typer.Option(help="Texts a step.", rich_help_panel=_RUN)] = 16,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate; by default found by trying.", rich_help_panel=_RUN)
    ] = None,
    max_answer_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.", rich_help_panel=_RUN)] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the order and of what is drawn.", rich_help_panel=_RUN)] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_RUN)] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.", rich_help_panel=_RUN)] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.", rich_help_panel=_RUN)] = False,  # noqa: FBT002
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the output folder.", rich_help_panel=_RUN)] = False,  # noqa: FBT002
    description: Annotated[str, typer.Option(help="What the soft prompt does.", rich_help_panel=_RECORD)] = "",
    source: Annotated[str, typer.Option(help="Where the texts came from.", rich_help_panel=_RECORD)] = "",
    licence: Annotated[str, typer.Option(help="Licence of the texts.", rich_help_panel=_RECORD)] = "",
    no_probes: Annotated[bool, typer.Option("--no-probes", help="Keep nothing of rows in it.", rich_help_panel=_RECORD)] = False,  # noqa: FBT002
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,  # noqa: FBT002
) -> None:
    """Teach a short soft prompt to say what the model says with your long prompt.

    Example: langchain-softprompt distill --template five_shot.json --data texts.jsonl --output runs/short
    """
    asked = asked_for(context)
    if resume:
        scored = {name: asked[name] for name in _SCORING if asked[name] is not None}
        asked = {**recorded(context, output, ("template", "self_made"), may=_SCORING), **scored}
    elif template is None or (data is None) == (self_made == 0):
        raise usage_error(context, "A new run needs --template, and either --data or --self-made; an old one goes on with --resume.")
    if (asked["test"] is None) != (asked["target"] is None):
        raise usage_error(context, "--test and --target belong together: rows with answers, and the field that holds them.")
    try:
        made = _distill(asked, output, resume=resume, overwrite=overwrite)
    except KeyboardInterrupt:
        raise stopped(context, output) from None
    finished = is_done(output)
    if json:
        show_json({"output": str(output), "soft_prompt": str(output / "best"), "finished": finished, **made.to_json()})
    else:
        if not finished:
            tell_stopped("distill", output, made.soft_prompt)
        _tell(output, made)
    if not finished:
        raise typer.Exit(INTERRUPTED)


def _distill(asked: dict[str, Any], output: Path, *, resume: bool, overwrite: bool) -> Distillation:
    import torch

    from langchain_softprompt import training
    from langchain_softprompt.frozen_model import FrozenModel
    from langchain_softprompt.settings import TrainingSettings

    settings = TrainingSettings(
        method=asked["method"],
        virtual_tokens=asked["virtual_tokens"],
        max_steps=asked["steps"],
        batch_size=asked["batch_size"],
        learning_rate=asked["learning_rate"],
        seed=asked["seed"],
    )
    if resume:
        torch.set_num_threads(asked["threads"])
    else:
        training.RunFolder.check_free(output, overwrite=overwrite)
        asked["threads"] = torch.get_num_threads()
        for name in ("template", "data", "test"):
            asked[name] = absolute(asked[name])
    prompt = training.HardPrompt.from_file(asked["template"], input_field=asked.get("input_field"))
    rows = training.read_rows(asked["data"], prompt.fields) if asked["data"] else []
    tested = training.read_rows(asked["test"], [*prompt.fields, asked["target"]]) if asked["test"] else []
    if not resume:
        training.RunFolder.announce(output, asked, overwrite=overwrite)
    begun = training.RunFolder(output).begun
    frozen = FrozenModel.load(asked["model"], dtype=asked["dtype"], device=asked["device"])
    with progress_bar() as bar:
        if not rows:
            task = bar.add_task("making up texts", total=asked["self_made"], numbers="")
            rows = training.make_texts(frozen, prompt, asked["self_made"], seed=asked["seed"], on_text=lambda: bar.advance(task))
            say(f"The model made up {len(rows)} different texts, for instance: {rows[0][prompt.fields[0]]!r}")
        answered = bar.add_task("answering with the long prompt", total=len(rows), numbers="")
        with Screen(frozen, bar, exact="same answers") as screen:
            return training.distill(
                frozen,
                prompt,
                rows,
                settings=settings,
                max_answer_tokens=asked["max_answer_tokens"],
                start_from=load_soft_prompt(asked["start_from"]) if asked["start_from"] else None,
                description=asked["description"],
                source=asked["source"] or (Path(asked["data"]).name if asked["data"] else "made by the model itself"),
                licence=asked["licence"],
                output=output,
                resume=begun,
                overwrite=not begun,
                notes=asked,
                probes=not asked["no_probes"],
                watcher=screen,
                on_lesson=lambda: bar.advance(answered),
                test=tested,
                target=asked["target"] or "",
            )


def _tell(output: Path, made: Distillation) -> None:
    scores = made.tested
    saved = made.prompt_tokens - made.virtual_tokens
    say(f"Saved {output / 'best'}: {made.virtual_tokens} virtual tokens for a prompt of {made.prompt_tokens} tokens ({saved} fewer).")
    say(
        f"On {made.held_out_rows} texts held out: KL to the long prompt {made.initial_kl:.3f} -> {made.kl:.3f} nats a token, "
        f"the same answer {made.initial_agreement:.1%} -> {made.agreement:.1%}."
    )
    say(f"Time to the first token, nothing remembered: {made.prompt_seconds * 1e3:.0f} ms -> {made.soft_seconds * 1e3:.0f} ms.")
    if scores:
        say(
            f"On {scores['test_rows']:.0f} rows with answers, exact match: long prompt {scores['prompt_exact_match']:.1%}, "
            f"soft prompt {scores['soft_exact_match']:.1%}; the same answer on {scores['test_agreement']:.1%}."
        )


__all__ = ["distill"]
