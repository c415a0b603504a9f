"""A branch or tag becomes a commit, once per process: a branch that moves on never changes a running chain."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_softprompt.hub.client import Kinds, client, in_plain_words, plain
from langchain_softprompt.printable import printable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DEFAULT_BRANCH = "main"  # of every repository on the Hub; mirrors answer to its name, not all to no name
_Key = tuple[str, str, str]


class Pins:
    """Commits by endpoint, repository and revision.

    The cache keeps where a revision led, for times when the Hub can't be asked. It is told so by `keep`, once what is at that commit
    is there and was accepted, and not at once, as the client's own ``resolve_revision`` does: a branch that has moved on to what
    can't be fetched would take the commit with it that was fetched before.
    """

    def __init__(self) -> None:
        self._commits: dict[_Key, str] = {}
        self._told_by_hub: set[_Key] = set()
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
                    found, is_told_by_hub = _ask(api, repo_id, asked)
                if is_told_by_hub:
                    self._told_by_hub.add(key)
                self._commits[key] = found
            return self._commits[key]

    def known(self, repo_id: str, revision: str | None) -> str | None:
        """The commit of a revision that needs no asking: it is one, or was asked for in this process."""
        asked = revision or _DEFAULT_BRANCH
        if is_commit(asked) or not self._commits:
            return asked if is_commit(asked) else None
        return self._commits.get((str(client().endpoint), repo_id, asked))

    def keep(self, repo_id: str, revision: str | None, commit: str, *, whole: bool = True) -> None:
        """Let the cache know where a revision leads; once per process, so that an older process never turns it back.

        Args:
            repo_id: The repository.
            revision: The branch or tag.
            commit: Its commit, which the cache holds by now.
            whole: Whether all is there that is ever asked for; if not, what the cache knows already is left as it is.
        """
        asked = revision or _DEFAULT_BRANCH
        if is_commit(asked):
            return
        key = (str(client().endpoint), repo_id, asked)
        with self._guard:
            if key not in self._told_by_hub or self._commits.get(key) != commit:
                return
            if whole:
                self._told_by_hub.discard(key)
        _write_ref(repo_id, asked, commit, replace=whole)

    def forget(self) -> None:
        """Ask again for every revision."""
        with self._guard:
            self._commits.clear()
            self._told_by_hub.clear()


def is_commit(revision: str) -> bool:
    """Whether a revision is a whole commit id."""
    return _COMMIT.fullmatch(revision) is not None


def _ask(api: HfApi, repo_id: str, asked: str) -> tuple[str, bool]:
    """The commit, and whether it is the Hub that says so, not the cache."""
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined] # httpx or httpx2, whichever the client uses

    trouble: Exception
    try:
        found = str(api.model_info(repo_id, revision=asked).sha)
        if is_commit(found):
            return found, True
        msg = f"what answers for the Hub names no commit of {asked!r}, but {printable(found)!r}. Look at HF_ENDPOINT."
        raise ValueError(msg)  # told by the caller, like what the client finds
    except (httpx.ProxyError, httpx.LocalProtocolError):  # what is set up wrongly here, a proxy or a token, is no Hub out of reach
        raise
    except (httpx.TransportError, errors.OfflineModeIsEnabled) as error:
        trouble = error
    except errors.HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
        trouble = error
    try:
        kept = str(api.resolve_revision(repo_id, revision=asked, local_files_only=True).resolved)
    except errors.RevisionResolutionError as error:
        raise error from trouble
    if not is_commit(kept):
        msg = f"{asked} leads to {printable(kept)!r}"
        raise errors.RevisionResolutionError(msg) from trouble
    if not isinstance(trouble, errors.OfflineModeIsEnabled):  # that is as its user wants it
        logger.warning("The Hub can't be asked where %s of %s leads (%s): taken at commit %s.", asked, repo_id, plain(trouble), kept)
    return kept, False


def _write_ref(repo_id: str, revision: str, commit: str, *, replace: bool) -> None:
    """Write it as the client would: whole, or not at all."""
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE).expanduser() / constants.REPO_ID_SEPARATOR.join(["models", *repo_id.split("/")])
    ref = repository / "refs" / revision
    # Not beside it: a file there that is left by a process that was killed would be read as a branch of its own.
    new = repository / f".ref-{uuid.uuid4().hex}"
    try:
        if (ref.is_file() and (not replace or ref.read_text("utf-8") == commit)) or not (repository / "snapshots" / commit).is_dir():
            return
        ref.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(commit, encoding="utf-8")
        new.replace(ref)
    except (OSError, ValueError) as error:  # a cache that can't be written to can be read all the same
        logger.debug("%s can't be written: %s", ref, error)
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


PINS = Pins()

__all__ = ["PINS", "Pins", "is_commit"]
