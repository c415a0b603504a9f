"""``langchain-softprompt convert``: a soft prompt in another project's format becomes a folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from langchain_softprompt.cli.output import say, show_json
from langchain_softprompt.cli.output_folder import check_output, write


def convert(
    file: Annotated[Path, typer.Argument(help="caikit's and TGIS's decoder.pt, or KoboldAI's .zip.", metavar="FILE", show_default=False)],
    output: Annotated[Path, typer.Argument(help="Folder to write.", metavar="OUTPUT", show_default=False)],
    base_model: Annotated[str, typer.Option(help="Frozen model it was made for; the file does not tell.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace a soft prompt in the folder.")] = False,  # noqa: FBT002 - a flag
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Read an older format, and write the soft prompt as a folder that PEFT and this package load.

    Nothing in the file is run. Formats that can't be read without that are refused by name: pickled PEFT weights, mkultra,
    ruPrompts, NeMo; and textual inversions, which are of image models.

    Exit code 0: done. 1: it can't be done, one sentence says why. 2: the command line is wrong.

    Example: langchain-softprompt convert decoder.pt prompts/old --base-model bigscience/bloomz-560m
    """
    from langchain_softprompt.conversion import convert as read

    check_output(output, force=force)
    converted = read(file, base_model=base_model)
    soft_prompt = converted.soft_prompt
    folder = write(soft_prompt, output)
    rows = soft_prompt.tensors["prompt_embeddings"]
    dtype = str(rows.dtype).removeprefix("torch.")
    if json:
        facts = {
            "file": str(file),
            "output": str(folder),
            "format": converted.format,
            "type": soft_prompt.kind,
            "virtual_tokens": soft_prompt.num_virtual_tokens,
            "hidden_size": rows.shape[1],
            "dtype": dtype,
            "base_model": base_model,
            "content_hash": soft_prompt.content_hash,
            "about": converted.about,
        }
        show_json(facts)
        return
    size = f"{soft_prompt.num_virtual_tokens} virtual tokens of {rows.shape[1]} numbers in {dtype}"
    say(f"Saved {folder}: {size}, read from {converted.format}'s format.")
    for name, value in converted.about.items():
        say(f"{name}: {value}")
    say(
        f"The file does not say which weights it was made for, so only its width can be checked. See what it does on {base_model}: "
        f"{shlex.join(['langchain-softprompt', 'inspect', str(folder), '--model', base_model])}"
    )


__all__ = ["convert"]
