"""``langchain-softprompt list`` and ``rm``: what is in the Hub cache, and taking it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.table import Column, Table

from langchain_softprompt.cli.output import people, say, show_json
from langchain_softprompt.errors import InvalidReferenceError
from langchain_softprompt.printable import printable

if TYPE_CHECKING:
    from langchain_softprompt.hub.cached import CachedSoftPrompt

_SHORT = 12


def list_cached(
    base_model: Annotated[
        str | None, typer.Option(help="Only those whose model's name holds this.", show_default=False, metavar="TEXT")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """List the soft prompts in the Hub cache: for which models, how large, last used when. Nothing is asked of the Hub.

    Example: langchain-softprompt list --base-model smollm2
    """
    from langchain_softprompt.hub.cached import cached_soft_prompts

    found = [entry for entry in cached_soft_prompts() if base_model is None or base_model.lower() in entry.base_model.lower()]
    if json:
        show_json({"cached": [entry.to_json() for entry in found]})
    elif not found:
        say("The Hub cache holds no such soft prompts. Fetch one: langchain-softprompt pull org/name")
    else:
        _show(found)


def remove(
    soft_prompt: Annotated[
        str, typer.Argument(help="org/name for all its commits, org/name@revision for one.", metavar="SOFT_PROMPT", show_default=False)
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,  # noqa: FBT002 - a flag
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Take a soft prompt out of the Hub cache. It is refused where a model lies beside it.

    Example: langchain-softprompt rm acme/router@v1
    """
    from langchain_softprompt.hub.cached import remove_cached
    from langchain_softprompt.refs import SoftPromptRef

    ref = SoftPromptRef.parse(soft_prompt)
    if ref.repo_id is None or ref.subfolder is not None:
        msg = f"{soft_prompt}: the cache is kept by repository. Name it 'org/name' or 'org/name@revision'; your own folders are not in it."
        raise InvalidReferenceError(msg)
    going, freed = remove_cached(ref, dry_run=True)
    if not json:
        _show(going)
    if not yes:
        typer.confirm(f"Take this out of the cache ({decimal(freed)})?", abort=True, err=True)
    going, freed = remove_cached(ref)
    if json:
        show_json({"removed": [entry.to_json() for entry in going], "freed_bytes": freed})
    else:
        say(f"Freed {decimal(freed)}.")


def _show(entries: list[CachedSoftPrompt]) -> None:
    table = Table(
        Column("soft prompt", overflow="fold"), "commit", "type", "tokens", "for", "size", "last used", box=None, header_style="bold"
    )
    for entry in entries:
        ref = entry.ref
        branches = f" ({', '.join(entry.branches)})" if entry.branches else ""
        commit = f"{(ref.revision or '')[:_SHORT]}{printable(branches) if branches else ''}"
        name = f"{ref.repo_id}#{printable(ref.subfolder)}" if ref.subfolder else str(ref.repo_id)
        when = entry.last_used.strftime("%Y-%m-%d")
        table.add_row(name, commit, entry.kind, str(entry.num_virtual_tokens), entry.base_model, decimal(entry.size), when)
    people.print(table, markup=False)
    for damaged in dict.fromkeys(f"{entry.ref.repo_id} is damaged in the cache: {entry.damage}." for entry in entries if entry.damage):
        say(f"{damaged} Fetch it again, or take it out: langchain-softprompt rm")


__all__ = ["list_cached", "remove"]
