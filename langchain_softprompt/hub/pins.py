"""A branch or tag becomes a commit, once per process: a branch that moves on never changes a running chain."""

from __future__ import annotations

import re
import threading

from langchain_softprompt.hub.client import Kinds, client, in_plain_words

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DEFAULT_BRANCH = "main"  # of every repository on the Hub; mirrors answer to its name, not all to no name
_Key = tuple[str, str, str]


class Pins:
    """Commits by endpoint, repository and revision."""

    def __init__(self) -> None:
        self._commits: dict[_Key, str] = {}
        self._asking: dict[_Key, threading.Lock] = {}
        self._guard = threading.Lock()

    def commit(self, repo_id: str, revision: str | None, kinds: Kinds) -> str:
        """The commit of a revision: from memory, from the Hub, or from the cache where the Hub can't be reached.

        Raises:
            SoftPromptError: Of the kinds given: there is no such repository or revision, or it can't be told.
        """
        asked = revision or _DEFAULT_BRANCH
        if is_commit(asked):
            return asked
        api = client()
        key = (str(api.endpoint), repo_id, asked)
        with self._guard:
            asking = self._asking.setdefault(key, threading.Lock())
        with asking:
            if key not in self._commits:
                with in_plain_words(repo_id, revision, kinds):
                    found = api.resolve_revision(repo_id, revision=asked).resolved
                self._commits[key] = str(found)
            return self._commits[key]

    def forget(self) -> None:
        """Ask again for every revision."""
        with self._guard:
            self._commits.clear()


def is_commit(revision: str) -> bool:
    """Whether a revision is a whole commit id."""
    return _COMMIT.fullmatch(revision) is not None


PINS = Pins()

__all__ = ["PINS", "Pins", "is_commit"]
