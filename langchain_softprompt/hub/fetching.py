"""Fetch a soft prompt or a model from the Hub, pinned to a commit."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_softprompt.errors import HubError, LockFileError, SoftPromptNotFoundError, UnsafeFileError, UntrustedSoftPromptError
from langchain_softprompt.hub.client import FETCHING_MODEL, FETCHING_SOFT_PROMPT, client, in_plain_words
from langchain_softprompt.hub.integrity import check_contents, check_size, published_hash
from langchain_softprompt.hub.local import CONFIG_FILE, MANIFEST_FILE, PICKLED_WEIGHTS, SOFT_PROMPT_FILES, TENSOR_FILE, local_folder
from langchain_softprompt.hub.lock import LockedSoftPrompt, SoftPromptLock
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.hub.policy import LOCK_FILE, HubPolicy, UntrustedSoftPromptWarning, current_policy
from langchain_softprompt.hub.scans import Scan, scan_of
from langchain_softprompt.refs import SoftPromptRef

if TYPE_CHECKING:
    from huggingface_hub import RepoFile

logger = logging.getLogger(__name__)

# Weights as safetensors only; no pickle and no code is ever fetched.
_MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt")


def fetch_soft_prompt(ref: SoftPromptRef, *, policy: HubPolicy | None = None) -> tuple[Path, str | None]:
    """Find the folder of a soft prompt, fetching its three files from the Hub where needed.

    A local folder of the reference's exact text wins over a Hub repository, as in transformers. The folder of a training
    run stands for the best soft prompt in it.

    Args:
        ref: What is asked for.
        policy: Rules to go by; by default those of this process.

    Returns:
        The folder, and the commit it is pinned to (``None`` for a local folder).

    Raises:
        SoftPromptNotFoundError: There is no such folder, repository, revision or subfolder.
        HubAccessError: It is gated, private or disabled.
        HubUnreachableError: The Hub can't be reached, and the cache does not hold it.
        InvalidSoftPromptError: A file is larger than any soft prompt's, or did not arrive as it was published.
        UnsafeFileError: It has pickled weights only.
        UntrustedSoftPromptError: The policy refuses it.
        LockFileError: There is a lock file, and this is not what it holds.
    """
    rules = policy if policy is not None else current_policy()
    folder = local_folder(ref)
    if folder is None:
        rules.check_organisation(ref)
    locked = _locked(ref, folder, rules.lock_file)
    commit = None
    if folder is None:
        commit = PINS.commit(ref.repo_id or "", (locked and locked.commit) or ref.revision, FETCHING_SOFT_PROMPT)
        folder = _fetched(ref, commit, rules, locked)
    if locked is not None and rules.lock_file is not None:
        locked.check(str(ref), folder, rules.lock_file)
    if commit is not None:
        PINS.keep(ref.repo_id or "", ref.revision, commit)
    return folder, commit


def commit_at_hand(ref: SoftPromptRef, *, from_memory: bool = False) -> str | None:
    """The commit that a name on the Hub will lead to, where nobody has to be asked: by the name, the lock file, or an earlier use.

    Args:
        ref: The name.
        from_memory: Look at no file.

    Raises:
        LockFileError: The lock file does not let it in.
    """
    if ref.repo_id is None:
        return None
    if not from_memory:
        if local_folder(ref) is not None:
            return None
        locked = _locked(ref, None, current_policy().lock_file)
        if locked is not None:
            return locked.commit
    return PINS.known(ref.repo_id, ref.revision)


def fetch_model(
    repo_id: str, *, revision: str | None = None, gguf_file: str | None = None, config_only: bool = False, weights: bool = True
) -> tuple[Path, str]:
    """Fetch a model's safetensors (or one GGUF file), configuration and tokenizer.

    Args:
        repo_id: ``org/name``.
        revision: Branch, tag or commit.
        gguf_file: Fetch this file in place of safetensors.
        config_only: Fetch nothing but ``config.json``.
        weights: Whether safetensors are fetched too.

    Returns:
        The folder in the Hub cache, and the commit it is pinned to.

    Raises:
        ModelUnavailableError: The Hub does not know it, refuses it, or can't be reached and the cache lacks it.
    """
    from huggingface_hub import errors

    wanted = ["config.json"] if config_only else [gguf_file, "*.json", "*.jinja"] if gguf_file else list(_MODEL_FILES)
    if not weights:
        wanted = [pattern for pattern in wanted if pattern != "*.safetensors"]
    commit = PINS.commit(repo_id, revision, FETCHING_MODEL)
    api = client()
    with in_plain_words(repo_id, revision, FETCHING_MODEL):
        try:
            folder = api.snapshot_download(repo_id, revision=commit, allow_patterns=wanted)
        except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
            # Clients before 2.0 ask the Hub for a commit's list of files although the files are here.
            folder = api.snapshot_download(repo_id, revision=commit, allow_patterns=wanted, local_files_only=True)
    PINS.keep(repo_id, revision, commit, whole=weights and not config_only)
    return Path(folder), commit


def _locked(ref: SoftPromptRef, folder: Path | None, lock_file: Path | None) -> LockedSoftPrompt | None:
    """What is locked under the name; a folder need not be, unless it stands before a locked name on the Hub."""
    if lock_file is None:
        return None
    lock = SoftPromptLock.read(lock_file)
    if lock is None:
        if lock_file != Path(LOCK_FILE):
            msg = f"{lock_file} was named as the lock file and is not there. Name another, or make it: langchain-softprompt lock NAME..."
            raise LockFileError(msg)
        return None
    return lock.entry(ref, folder, lock_file)


def _fetched(ref: SoftPromptRef, commit: str, rules: HubPolicy, locked: LockedSoftPrompt | None) -> Path:
    """The folder with the files, each looked at before and after."""
    repo_id = ref.repo_id or ""
    inside = f"{ref.subfolder}/" if ref.subfolder else ""
    files = _cached(repo_id, commit, inside)
    if rules.scans == "require":
        _look_at_scans(ref, commit, rules, locked)
    published: Mapping[str, str] = {}
    if files is None:
        files, published = _download(ref, commit, inside)
    check_contents(files, published)
    if published and rules.scans == "warn":
        _look_at_scans(ref, commit, rules, locked)
    return files[CONFIG_FILE].parent


def _cached(repo_id: str, commit: str, inside: str) -> dict[str, Path] | None:
    """The files of a commit where the cache knows of each of them, be it that there is none; no request is made."""
    from huggingface_hub import try_to_load_from_cache

    states = {name: try_to_load_from_cache(repo_id, inside + name, revision=commit) for name in SOFT_PROMPT_FILES}
    files = {name: Path(state) for name, state in states.items() if isinstance(state, str)}
    known = all(state is not None or _is_known_missing(repo_id, inside + name, commit) for name, state in states.items())
    return files if known and {CONFIG_FILE, TENSOR_FILE} <= files.keys() else None


def _is_known_missing(repo_id: str, path: str, commit: str) -> bool:
    """Whether a list of the commit's files, which clients from 2.0 on keep, is without that file."""
    from huggingface_hub import errors

    try:
        from huggingface_hub import get_cached_repo_tree
    except ImportError:
        return False
    try:
        return all(file.path != path for file in get_cached_repo_tree(repo_id, revision=commit))
    except errors.CachedRepoTreeNotFoundError:
        return False


def _download(ref: SoftPromptRef, commit: str, inside: str) -> tuple[dict[str, Path], dict[str, str]]:
    """The files, and the hashes they were published under."""
    from huggingface_hub import RepoFile, errors

    repo_id = ref.repo_id or ""
    api = client()
    with in_plain_words(repo_id, ref.revision or commit, FETCHING_SOFT_PROMPT, name=str(ref)):
        names = [inside + name for name in (*SOFT_PROMPT_FILES, *PICKLED_WEIGHTS)]
        entries = api.get_paths_info(repo_id, names, revision=commit)
        listed = {entry.path.removeprefix(inside): entry for entry in entries if isinstance(entry, RepoFile)}
        _check_listing(ref, commit, listed)
        files = {}
        for name in SOFT_PROMPT_FILES:  # the small ones tell most, but a missing manifest has to be asked for to be remembered
            try:
                files[name] = Path(api.hf_hub_download(repo_id, inside + name, revision=commit))
            except errors.RemoteEntryNotFoundError:
                if name != MANIFEST_FILE:
                    raise
    logger.info("Fetched %s at commit %s", ref, commit)
    return files, {name: published_hash(entry) for name, entry in listed.items()}


def _check_listing(ref: SoftPromptRef, commit: str, files: Mapping[str, RepoFile]) -> None:
    """Refuse what is no soft prompt before any of it is fetched."""
    if CONFIG_FILE not in files:
        where = f"no soft prompt in the folder {ref.subfolder!r}" if ref.subfolder else "no soft prompt at its top"
        msg = f"{ref}: the repository has {where} at commit {commit}. Look at its files on the Hub and name the folder after '#'."
        raise SoftPromptNotFoundError(msg)
    if TENSOR_FILE not in files:
        pickle = next((name for name in PICKLED_WEIGHTS if name in files), None)
        if pickle is None:
            msg = f"{ref}: the repository has no {TENSOR_FILE} at commit {commit}. Ask its owner to save it with PEFT's save_pretrained."
            raise SoftPromptNotFoundError(msg)
        hint = "Pickled weights can run code and are never fetched. Ask its owner to save it again with PEFT's save_pretrained."
        raise UnsafeFileError(file=pickle, field="format", expected=TENSOR_FILE, found="pickled weights only", hint=hint)
    for name in SOFT_PROMPT_FILES:
        if name in files:
            check_size(name, files[name].size)


def _look_at_scans(ref: SoftPromptRef, commit: str, rules: HubPolicy, locked: LockedSoftPrompt | None) -> None:
    try:
        scan = scan_of(ref.repo_id or "", commit, FETCHING_SOFT_PROMPT, name=str(ref))
    except HubError:
        if locked is not None and locked.scan == "clean":
            return
        scan = Scan("not told")
    if scan.state == "clean":
        return
    what = f"{ref} at commit {commit}: {_told(scan)}"
    if rules.scans == "require":
        msg = f"{what} Only clean ones are allowed here. Wait for the scan, use another one, or set LANGCHAIN_SOFTPROMPT_SCANS=warn."
        raise UntrustedSoftPromptError(msg)
    warnings.warn(f"{what} It is used all the same: safetensors can't run code.", UntrustedSoftPromptWarning, stacklevel=2)


def _told(scan: Scan) -> str:
    if scan.state == "flagged":
        return f"the Hub's scanners have flagged files of its repository ({str(scan).partition(': ')[2]})."
    if scan.state == "not told":
        return "the Hub can't be asked what its scanners say."
    return "the Hub's scanners have not looked at all of it yet."


__all__ = ["commit_at_hand", "fetch_model", "fetch_soft_prompt"]
