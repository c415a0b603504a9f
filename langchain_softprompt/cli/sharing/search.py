"""``langchain-softprompt search``: find soft prompts on the Hub."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from langchain_softprompt.cli.output import people, say, show_json


def search(
    text: Annotated[str | None, typer.Argument(help="Part of the name.", metavar="[TEXT]", show_default=False)] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A model on this machine: its own soft prompts, and whether each fits.", show_default=False),
    ] = None,
    base_model: Annotated[str | None, typer.Option(help="The Hub's name of the model they are for.", show_default=False)] = None,
    task: Annotated[str | None, typer.Option(help="A tag, for instance text-classification.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="Most to find.", min=1, max=200)] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Search the Hugging Face Hub for soft prompts, the most downloaded first.

    Of each hit only the configuration is read, as most adapters there are no soft prompts.

    Example: langchain-softprompt search --model embedded banking
    """
    from langchain_softprompt.frozen_model import model_sizes
    from langchain_softprompt.frozen_model.sources import EMBEDDED_MODEL, EMBEDDED_ON_HUB
    from langchain_softprompt.hub import is_repo_id
    from langchain_softprompt.hub.searching import search_soft_prompts

    sizes = None
    if model is not None:
        name, sizes = model_sizes(model)
        named = EMBEDDED_ON_HUB if name == EMBEDDED_MODEL else name
        base_model = base_model or (named if is_repo_id(named) else None)
    found = search_soft_prompts(text, base_model=base_model, task=task, sizes=sizes, limit=limit)
    if json:
        show_json({"found": [entry.to_json() for entry in found]})
        return
    if not found:
        say("The Hub has no such soft prompts. Search with fewer words, or without --base-model and --task.")
        return
    table = Table(
        Column("soft prompt", overflow="fold"), "type", "tokens", "for", "downloads", "licence", "updated", box=None, header_style="bold"
    )
    if sizes is not None:
        table.add_column("fits")
    for entry in found:
        when = entry.updated.strftime("%Y-%m-%d") if entry.updated else ""
        shown = f"{entry.repo_id}{' (gated)' if entry.gated else ''}"
        row = [shown, entry.kind, str(entry.num_virtual_tokens), entry.base_model, f"{entry.downloads:,}", entry.licence, when]
        table.add_row(*row, *([entry.misfit or "its sizes fit"] if sizes is not None else []))
    people.print(table, markup=False)


__all__ = ["search"]
