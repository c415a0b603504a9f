"""Names that are folders on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from langchain_softprompt.errors import InvalidReferenceError, SoftPromptNotFoundError
from langchain_softprompt.refs import SoftPromptRef

CONFIG_FILE, TENSOR_FILE, MANIFEST_FILE = SOFT_PROMPT_FILES = ("adapter_config.json", "adapter_model.safetensors", "soft_prompt.json")

PICKLED_WEIGHTS = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth", "pytorch_model.bin", "decoder.pt")


def is_repo_id(text: str) -> bool:
    """Whether `text` has the form of a Hub repository, ``org/name``."""
    try:
        return SoftPromptRef.parse(text).repo_id == text
    except InvalidReferenceError:
        return False


def local_folder(ref: SoftPromptRef) -> Path | None:
    """The folder that a reference means; ``None`` where it means the Hub.

    A local folder of the reference's exact text wins over a Hub repository, as in transformers. The folder of a training
    run stands for the best soft prompt in it.

    Raises:
        SoftPromptNotFoundError: It is the folder of a run that is not done, or in a home folder that is not there.
    """
    if ref.folder is not None:
        return _best_of_run(_expanded(ref.folder))
    local = _best_of_run(Path(str(ref)))
    return local if _is_file(local / CONFIG_FILE) else None


def _best_of_run(folder: Path) -> Path:
    best = folder / "best"
    if _is_file(folder / CONFIG_FILE):
        return folder
    if _is_file(best / CONFIG_FILE):
        return best
    if _is_file(folder / "settings.json") and _is_file(folder / "log.jsonl"):
        msg = (
            f"{folder} is the folder of a training run that is not done, so there is no soft prompt to use in it yet. Wait for it, or go "
            f"on with it: langchain-softprompt {_command_of(folder)} --resume --output {folder}"
        )
        raise SoftPromptNotFoundError(msg)
    return folder


def run_of_best(folder: Path) -> Path | None:
    """The folder of the training run whose name leads to this one; ``None`` where that is not so."""
    run = folder.absolute().parent
    return run if folder.name == "best" and not _is_file(run / CONFIG_FILE) else None


def _command_of(run: Path) -> str:
    """The command that a run was begun by: it is in the run's notes."""
    try:
        named = json.loads((run / "settings.json").read_text("utf-8"))["notes"]["command"]
    except (OSError, ValueError, KeyError, TypeError):
        return "train"
    return "distill" if named == "distill" else "train"


def _expanded(folder: Path) -> Path:
    try:
        return folder.expanduser()
    except RuntimeError as error:
        msg = f"Can't find the home folder that {str(folder)!r} names: {error} Write the whole path."
        raise SoftPromptNotFoundError(msg) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for this file system
        return False


__all__ = [
    "CONFIG_FILE",
    "MANIFEST_FILE",
    "PICKLED_WEIGHTS",
    "SOFT_PROMPT_FILES",
    "TENSOR_FILE",
    "is_repo_id",
    "local_folder",
    "run_of_best",
]
