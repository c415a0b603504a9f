"""The one door to the Hugging Face Hub: a name becomes a folder on this machine, pinned to a commit."""

from __future__ import annotations

import json
from pathlib import Path

from langchain_softprompt.errors import InvalidReferenceError, ModelUnavailableError, SoftPromptNotFoundError
from langchain_softprompt.refs import SoftPromptRef

SOFT_PROMPT_FILES = ("adapter_config.json", "adapter_model.safetensors", "soft_prompt.json")
# Weights as safetensors only; no pickle and no code is ever fetched.
_MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt")


def is_repo_id(text: str) -> bool:
    """Whether `text` has the form of a Hub repository, ``org/name``."""
    try:
        return SoftPromptRef.parse(text).repo_id == text
    except InvalidReferenceError:
        return False


def fetch_soft_prompt(ref: SoftPromptRef) -> tuple[Path, str | None]:
    """Find the folder of a soft prompt, fetching its three files from the Hub where needed.

    A local folder of the reference's exact text wins over a Hub repository, as in transformers. The folder of a training
    run stands for the best soft prompt in it.

    Returns:
        The folder, and the commit it is pinned to (``None`` for a local folder).

    Raises:
        SoftPromptNotFoundError: There is no such folder, repository, revision or subfolder, or the Hub can't be
            reached and the cache does not hold it.
    """
    if ref.folder is not None:
        return _best_of_run(_expanded(ref.folder)), None
    local = _best_of_run(Path(str(ref)))
    if _is_file(local / SOFT_PROMPT_FILES[0]):
        return local, None
    inside = f"{ref.subfolder}/" if ref.subfolder else ""
    folder, commit = _snapshot(ref.repo_id or "", ref.revision, [inside + name for name in SOFT_PROMPT_FILES], SoftPromptNotFoundError)
    folder = folder / ref.subfolder if ref.subfolder else folder
    if not folder.is_dir():
        msg = f"{ref}: the repository has no such folder at commit {commit}. Look at its files on the Hub and name the folder after '#'."
        raise SoftPromptNotFoundError(msg)
    return folder, commit


def _best_of_run(folder: Path) -> Path:
    best = folder / "best"
    if _is_file(folder / SOFT_PROMPT_FILES[0]):
        return folder
    if _is_file(best / SOFT_PROMPT_FILES[0]):
        return best
    if _is_file(folder / "settings.json") and _is_file(folder / "log.jsonl"):
        msg = (
            f"{folder} is the folder of a training run that is not done, so there is no soft prompt to use in it yet. Wait for it, or go "
            f"on with it: langchain-softprompt {_command_of(folder)} --resume --output {folder}"
        )
        raise SoftPromptNotFoundError(msg)
    return folder


def _command_of(run: Path) -> str:
    """The command that a run was begun by: it is in the run's notes."""
    try:
        named = json.loads((run / "settings.json").read_text("utf-8"))["notes"]["command"]
    except (OSError, ValueError, KeyError, TypeError):
        return "train"
    return "distill" if named == "distill" else "train"


def fetch_model(repo_id: str, *, revision: str | None = None, gguf_file: str | None = None) -> tuple[Path, str]:
    """Fetch a model's safetensors (or one GGUF file), configuration and tokenizer.

    Returns:
        The folder in the Hub cache, and the commit it is pinned to.

    Raises:
        ModelUnavailableError: The Hub does not know it, refuses it, or can't be reached and the cache lacks it.
    """
    wanted = [gguf_file, "*.json", "*.jinja"] if gguf_file else list(_MODEL_FILES)
    return _snapshot(repo_id, revision, wanted, ModelUnavailableError)


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


def _snapshot(
    repo_id: str, revision: str | None, files: list[str], not_found: type[SoftPromptNotFoundError | ModelUnavailableError]
) -> tuple[Path, str]:
    from huggingface_hub import errors, snapshot_download

    name = f"{repo_id}@{revision}" if revision else repo_id
    try:
        try:
            folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=files))
        except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
            # Clients before 2.0 ask the Hub for a commit's list of files although the files are here.
            folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=files, local_files_only=True))
    except errors.GatedRepoError as error:
        msg = f"{name} is gated. Ask for access on its Hub page, then log in with: hf auth login"
        raise not_found(msg) from error
    except errors.RevisionNotFoundError as error:
        msg = f"{repo_id} has no branch, tag or commit {revision!r}. Look at its history on the Hub."
        raise not_found(msg) from error
    except errors.RepositoryNotFoundError as error:
        msg = f"The Hub has no repository {repo_id!r}, or it is private. Check the spelling, or log in with: hf auth login"
        raise not_found(msg) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        msg = f"{name} is not in the local cache and the Hub can't be reached. Go online once, or give a local folder."
        raise not_found(msg) from error
    except Exception as error:  # The HTTP client's own errors (a proxy's, say) come through as they are.
        msg = f"Can't fetch {name} from the Hub: {error}"
        raise not_found(msg) from error
    return folder, folder.name
