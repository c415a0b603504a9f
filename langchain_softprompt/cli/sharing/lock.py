"""``langchain-softprompt lock``: pin every soft prompt of an application to commits and hashes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from langchain_softprompt.cli.output import say, show_json
from langchain_softprompt.errors import LockFileError


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
    from langchain_softprompt.hub.lock import LockedSoftPrompt, SoftPromptLock
    from langchain_softprompt.hub.policy import LOCK_FILE
    from langchain_softprompt.hub.scans import scan_of
    from langchain_softprompt.refs import SoftPromptRef

    policy = current_policy()
    target = file or policy.lock_file or Path(LOCK_FILE)
    found = SoftPromptLock.read(target)
    names = soft_prompts or sorted(found.soft_prompts if found is not None else ())
    if not names or (check and found is None):
        msg = f"{target} is not there. Name the soft prompts to lock: langchain-softprompt lock org/name ./folder"
        raise LockFileError(msg)
    rules = replace(policy, lock_file=target if check else None)
    entries = {}
    for name in names:
        ref = SoftPromptRef.parse(name)
        folder, commit = fetch_soft_prompt(ref, policy=rules)
        scan = scan_of(ref.repo_id or "", commit).state if commit is not None and not check and policy.scans != "off" else None
        entries[str(ref)] = LockedSoftPrompt.of(folder, commit, scan)
        if not json:
            say(f"{ref}: {f'commit {commit}' if commit else f'folder {folder}'}{f', scans: {scan}' if scan else ''}")
    if not check:
        (found or SoftPromptLock()).with_entries(entries).write(target)
    if json:
        show_json({"lock_file": str(target), "soft_prompts": {name: entry.model_dump(mode="json") for name, entry in entries.items()}})
    else:
        say(f"{'All as locked' if check else 'Locked'} in {target}.")


__all__ = ["lock"]
