"""``langchain-softprompt show``: what a soft prompt is, without loading a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from langchain_softprompt.cli.output import people, say, show_json
from langchain_softprompt.cli.sources import load_soft_prompt
from langchain_softprompt.printable import printable

if TYPE_CHECKING:
    from langchain_softprompt.soft_prompt import Manifest, SoftPrompt

_LONGEST = 2000


def show(
    soft_prompt: Annotated[str, typer.Argument(help="A folder or a Hub id.", metavar="SOFT_PROMPT", show_default=False)],
    task: Annotated[str | None, typer.Option(help="Task of a multitask prompt, its number or name.")] = None,
    scans: Annotated[bool, typer.Option("--scans", help="Ask the Hub what its scanners say.")] = False,  # noqa: FBT002 - a flag
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Show what a soft prompt is and says of itself: its type, its model, its template, its data, its scores.

    Example: langchain-softprompt show acme/router --scans
    """
    loaded = load_soft_prompt(soft_prompt, task=task)
    facts = _facts(loaded)
    if scans:
        facts["scans"] = _scans(loaded)
    if json:
        show_json({**facts, "manifest": loaded.manifest.model_dump(mode="json") if loaded.manifest is not None else None})
        return
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value not in (None, ""):
            table.add_row(name.replace("_", " "), printable(value, _LONGEST))
    people.print(table, markup=False, highlight=False)
    if loaded.manifest is None:
        say("\nA plain PEFT folder: it says nothing of its data, its scores or the messages to send with it.")
    else:
        _show_manifest(loaded.manifest)


def _facts(soft_prompt: SoftPrompt) -> dict[str, Any]:
    manifest, config = soft_prompt.manifest, soft_prompt.config
    model = manifest.base_model if manifest is not None else None
    data = manifest.data if manifest is not None else None
    return {
        "soft_prompt": soft_prompt.source,
        "commit": soft_prompt.revision,
        "does": manifest.description if manifest is not None else None,
        "type": soft_prompt.kind,
        "virtual_tokens": soft_prompt.num_virtual_tokens,
        "bytes": soft_prompt.num_bytes,
        "content_hash": soft_prompt.content_hash,
        "base_model": model.id if model is not None else config.base_model_name_or_path,
        "base_model_revision": model.revision if model is not None else config.revision,
        "fingerprint": model.fingerprint if model is not None else None,
        "method": manifest.method if manifest is not None else None,
        "made": manifest.created if manifest is not None else None,
        "data": data.source if data is not None else None,
        "licence": data.licence if data is not None else None,
    }


def _scans(soft_prompt: SoftPrompt) -> str:
    from langchain_softprompt.hub.scans import scan_of
    from langchain_softprompt.refs import SoftPromptRef

    if soft_prompt.revision is None:
        return "a folder on this machine: nobody scans it"
    return str(scan_of(SoftPromptRef.parse(soft_prompt.source).repo_id or "", soft_prompt.revision))


def _show_manifest(manifest: Manifest) -> None:
    for title, messages in (("Made with", manifest.hard_prompt), ("To be sent with it", manifest.input_messages)):
        if messages:
            say(f"\n{title}:")
            for message in messages:
                # Line by line behind a bar: a stranger's template can't pass for what is said here.
                for number, line in enumerate(message.template.splitlines() or [""]):
                    say(f"  {message.role if number == 0 else '':<6} | {line}")
    if manifest.scores:
        say("\nScores:")
        recorded = manifest.evaluation.intervals if manifest.evaluation is not None else {}
        for name, value in manifest.scores.items():
            low_high = recorded.get(name)
            say(f"  {printable(name)}: {value:.3f}{f' ({low_high[0]:.3f} to {low_high[1]:.3f})' if low_high else ''}")


__all__ = ["show"]
