"""``langchain-softprompt lock``: pin every soft prompt of an application to commits and hashes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_softprompt.cli.output import say, show_json
from langchain_softprompt.cli.sources import read_whole
from langchain_softprompt.errors import LockFileError, SoftPromptError

if TYPE_CHECKING:
    from langchain_softprompt.hub import HubPolicy
    from langchain_softprompt.hub.lock import LockedSoftPrompt
    from langchain_softprompt.hub.scans import ScanState
    from langchain_softprompt.refs import SoftPromptRef


def lock(
    soft_prompts: Annotated[
        list[str] | None, typer.Argument(help="Names as the application uses them; folders, too.", metavar="[SOFT_PROMPT...]")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="The lock file; else soft-prompts.lock here.", show_default=False)] = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail where something is not what was locked.")] = False,  # noqa: FBT002 - a flag
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Pin soft prompts to commits and content hashes in soft-prompts.lock, which is enforced wherever it lies in the working folder.

    Without names it locks anew what is locked already, at the commits that their branches lead to today.

    Example: langchain-softprompt lock acme/router acme/moods@v2#english ./prompts/own
    """
    from langchain_softprompt.hub import current_policy, fetch_soft_prompt
    from langchain_softprompt.hub.local import local_folder
    from langchain_softprompt.hub.lock import LockedSoftPrompt, SoftPromptLock
    from langchain_softprompt.hub.policy import LOCK_FILE
    from langchain_softprompt.refs import SoftPromptRef

    policy = current_policy()
    target = replace(policy, lock_file=file or policy.lock_file or Path(LOCK_FILE)).lock_file or Path(LOCK_FILE)
    there = SoftPromptLock.read(target)
    names = soft_prompts or sorted(there.soft_prompts if there is not None else ())
    if not names or (check and there is None):
        msg = f"{target} is not there. Name the soft prompts to lock: langchain-softprompt lock org/name ./folder"
        raise LockFileError(msg)
    rules = replace(policy, lock_file=target if check else None)
    entries = {}
    for name in names:
        ref = SoftPromptRef.parse(name)
        locked = None
        if there is not None and (check or not soft_prompts):  # what is locked anew is what it was before: one on the Hub, or a folder
            locked = there.entry(ref, local_folder(ref), target)
            if locked is None:
                msg = f"{ref} is not in {target}. Lock it first: langchain-softprompt lock {ref}"
                raise LockFileError(msg)
        folder, commit = fetch_soft_prompt(ref, policy=rules)
        if check and locked is not None:
            entries[str(ref)], scan = locked, None
        else:
            read_whole(folder)  # what can't be loaded is told now, not when the application runs
            scan = _scan(ref, commit, policy, there.soft_prompts.get(str(ref)) if there is not None else None)
            entries[str(ref)] = LockedSoftPrompt.of(folder, commit, scan)
        if not json:
            say(f"{ref}: {f'commit {commit}' if commit else f'folder {folder}'}{f', scans: {scan}' if scan else ''}")
    if not check:
        SoftPromptLock.add(target, entries)
    if json:
        show_json({"lock_file": str(target), "soft_prompts": {name: entry.model_dump(mode="json") for name, entry in entries.items()}})
    else:
        say(f"{'All as locked' if check else 'Locked'} in {target}.")


def _scan(ref: SoftPromptRef, commit: str | None, policy: HubPolicy, before: LockedSoftPrompt | None) -> ScanState | None:
    """What the scanners say; where they can't be asked and need not be, what they said of the same commit before."""
    from langchain_softprompt.hub.scans import scan_of

    if commit is None or policy.scans == "off":
        return None
    try:
        return scan_of(ref.repo_id or "", commit).state
    except SoftPromptError:
        if policy.scans == "require":
            raise
        return (before.scan if before is not None and before.commit == commit else None) or "not told"


__all__ = ["lock"]
