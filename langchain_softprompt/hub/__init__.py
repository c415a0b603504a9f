"""The one door to the Hugging Face Hub: a name becomes a folder on this machine, pinned to a commit.

Files:
    fetching.py     fetch a soft prompt (three files) or a model, each pinned to a commit
    local.py        names that are folders on this machine
    pins.py         a branch or tag becomes a commit, once per process
    integrity.py    fetched files are what the Hub says they are: sizes beforehand, hashes afterwards
    scans.py        what the Hub's scanners say: clean, flagged, not scanned
    policy.py       whom to trust: organisations, scans, the lock file
    lock.py         soft-prompts.lock: commits and hashes of every soft prompt of an application
    cached.py       which soft prompts lie in the Hub cache, and taking them out
    cache_scan.py   all that lies in it, what is damaged too
    searching.py    finding soft prompts on the Hub
    publication.py  what would be published, and what of it changes
    publishing.py   publishing it in one commit
    client.py       the client, and its errors in plain words
"""

from __future__ import annotations

from langchain_softprompt.hub.fetching import commit_at_hand, fetch_model, fetch_soft_prompt
from langchain_softprompt.hub.local import SOFT_PROMPT_FILES, is_repo_id
from langchain_softprompt.hub.policy import HubPolicy, UntrustedSoftPromptWarning, current_policy, set_policy

__all__ = [
    "SOFT_PROMPT_FILES",
    "HubPolicy",
    "UntrustedSoftPromptWarning",
    "commit_at_hand",
    "current_policy",
    "fetch_model",
    "fetch_soft_prompt",
    "is_repo_id",
    "set_policy",
]
