"""``langchain-softprompt export``: any soft prompt as a folder of keys and values that plain PEFT loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from langchain_softprompt.cli.output import people, say, show_json
from langchain_softprompt.cli.output_folder import check_output, write
from langchain_softprompt.cli.sources import load_soft_prompt

if TYPE_CHECKING:
    from langchain_softprompt.frozen_model import FrozenModel
    from langchain_softprompt.prefix import ProbeReport
    from langchain_softprompt.soft_prompt import SoftPrompt

_MODEL = "Model"
_OUTPUT = "Output"


def export(
    soft_prompt: Annotated[str, typer.Argument(help="Soft prompt, a folder or a Hub id.", metavar="SOFT_PROMPT", show_default=False)],
    output: Annotated[Path, typer.Argument(help="Folder to write.", metavar="OUTPUT", show_default=False)],
    model: Annotated[
        str, typer.Option(help="Frozen model: 'embedded', a folder, a .gguf file or a Hub id.", rich_help_panel=_MODEL)
    ] = "embedded",
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16 or float16; what embeddings are computed and stored in.", rich_help_panel=_MODEL)
    ] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.", rich_help_panel=_MODEL)] = "auto",
    task: Annotated[str | None, typer.Option(help="Task of a multitask prompt, its number or name.", rich_help_panel=_MODEL)] = None,
    other_model: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--allow-other-model", help="Take a soft prompt made for another model.", rich_help_panel=_MODEL)
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a soft prompt in the folder.", rich_help_panel=_OUTPUT)] = False,  # noqa: FBT002 - a flag
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.", rich_help_panel=_OUTPUT)] = False,  # noqa: FBT002 - a flag
) -> None:
    """Write a soft prompt as keys and values, PEFT's type CARTRIDGE: PeftModel.from_pretrained loads it, whatever method made it.

    It fits this model only. Its probes are read again from what was written.

    Exit code 0: done. 1: it can't be done, one sentence says why. 2: the command line is wrong.

    Example: langchain-softprompt export prompts/route exported/route
    """
    from langchain_softprompt.frozen_model import FrozenModel
    from langchain_softprompt.prefix import export_cartridge
    from langchain_softprompt.soft_prompt import SoftPrompt

    check_output(output, force=force)
    loaded = load_soft_prompt(soft_prompt, task=task)
    frozen = FrozenModel.load(model, dtype=dtype, device=device)
    write(export_cartridge(frozen, loaded, allow_other_model=other_model), output)
    written = SoftPrompt.load(output)
    report = _probe(frozen, written, other_model=other_model)
    before, after = _facts(loaded), _facts(written)
    if json:
        told = {"soft_prompt": soft_prompt, "output": str(output), "model": frozen.name, "fingerprint": frozen.fingerprint}
        show_json({**told, "exported_from": before, "exported": after, "probes": report.to_json() if report is not None else None})
        return
    _tell(output, before, after)
    if report is not None:
        say(f"Its probes, read from what was written: {report.verdict} ({report}).")
    say(f"PEFT loads it: PeftModel.from_pretrained(base_model, {str(output)!r}).")


def _probe(model: FrozenModel, written: SoftPrompt, *, other_model: bool) -> ProbeReport | None:
    """What its own probes say of the soft prompt as it was written."""
    from langchain_softprompt.prefix import compile_prefix, run_probes

    probes = written.manifest.probes if written.manifest is not None else None
    if probes is None or not probes.probes:
        return None
    return run_probes(model, compile_prefix(model, written, allow_other_model=other_model), probes)


def _facts(soft_prompt: SoftPrompt) -> dict[str, Any]:
    return {
        "type": soft_prompt.kind,
        "task": soft_prompt.task,
        "virtual_tokens": soft_prompt.num_virtual_tokens,
        "dtype": str(soft_prompt.tensors["prompt_embeddings"].dtype).removeprefix("torch."),
        "bytes": soft_prompt.num_bytes,
        "base_model": soft_prompt.config.base_model_name_or_path,
        "content_hash": soft_prompt.content_hash,
    }


def _tell(output: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    from langchain_softprompt.printable import printable

    table = Table(title=f"Saved {output}", title_justify="left")
    for column in ("", "was", "is"):
        table.add_column(column, overflow="fold")
    for name, label in (("type", "type"), ("virtual_tokens", "virtual tokens"), ("dtype", "stored as"), ("bytes", "bytes")):
        table.add_row(label, *(Text(f"{facts[name]:,}" if name == "bytes" else str(facts[name])) for facts in (before, after)))
    table.add_row("base model", *(Text(printable(facts["base_model"] or "not named")) for facts in (before, after)))
    people.print(table)


__all__ = ["export"]
