"""``langchain-softprompt pull``: fetch soft prompts, each pinned to a commit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from langchain_softprompt.cli.output import say, show_json
from langchain_softprompt.cli.sources import read_whole
from langchain_softprompt.errors import InvalidSettingsError, RunFolderError


def pull(
    soft_prompts: Annotated[
        list[str], typer.Argument(help="org/name, org/name@revision or org/name@revision#subfolder.", metavar="SOFT_PROMPT...")
    ],
    output: Annotated[Path | None, typer.Option(help="Copy it to this folder, too; for one soft prompt.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Fetch soft prompts from the Hugging Face Hub into its cache, and print the name that pins each to its commit.

    Only its three files are fetched, weights as safetensors only. What was fetched works offline from then on.

    Example: langchain-softprompt pull acme/router acme/moods@v2#english
    """
    from langchain_softprompt.hub import SOFT_PROMPT_FILES, fetch_soft_prompt
    from langchain_softprompt.refs import SoftPromptRef

    if output is not None and (len(soft_prompts) != 1 or output.exists()):
        problem = "is there already" if output.exists() else f"is one folder for {len(soft_prompts)} soft prompts"
        msg = f"output: {output} {problem}. Name a new folder, for one soft prompt."
        raise InvalidSettingsError(msg)
    pulled: list[dict[str, Any]] = []
    for name in soft_prompts:
        ref = SoftPromptRef.parse(name)
        folder, commit = fetch_soft_prompt(ref)
        loaded = read_whole(folder)  # all of it is checked here, not at its first use
        pin = name if commit is None else str(SoftPromptRef(ref.repo_id, commit, ref.subfolder))
        files = {file: (folder / file).stat().st_size for file in SOFT_PROMPT_FILES if (folder / file).is_file()}
        pulled.append({"soft_prompt": name, "pin": pin, "commit": commit, "folder": str(folder), "kind": loaded.kind, "files": files})
        if output is not None:
            _copy(folder, output, files)
        if not json:
            where = "a folder on this machine" if commit is None else f"commit {commit}"
            say(f"{name}: {loaded.kind}, {loaded.num_virtual_tokens} virtual tokens, {decimal(sum(files.values()))}, {where}")
            say(f"  folder: {output or folder}\n  pinned: {pin}")
    if json:
        show_json({"pulled": pulled, "output": str(output) if output is not None else None})


def _copy(folder: Path, output: Path, files: dict[str, int]) -> None:
    try:
        output.mkdir(parents=True)
        for file in files:
            shutil.copyfile(folder / file, output / file)
    except OSError as error:
        msg = f"output: can't write to {output}: {error}"
        raise RunFolderError(msg) from error


__all__ = ["pull"]
