"""Soft prompts loaded in this process, each once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_softprompt import hub
from langchain_softprompt.refs import SoftPromptRef

if TYPE_CHECKING:
    from langchain_softprompt.soft_prompt import SoftPrompt

_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    folder: Path
    stamp: _Stamp
    soft_prompt: SoftPrompt
    commit: str | None
    policy: hub.HubPolicy


class Shelf:
    """Keeps loaded soft prompts by the name they were asked for.

    A Hub reference is resolved to a commit at its first use and stays with that commit for the life of the process,
    whatever becomes of the cache. A local folder is read again when its files have changed. Where the rules for what comes
    from the Hub are others than when it was loaded, it is asked again whether they let it in.

    Args:
        max_kept: Most soft prompts to keep, least recently used first out.
    """

    def __init__(self, max_kept: int = 256) -> None:
        self._max_kept = max_kept
        self._kept: OrderedDict[str | Path, _Loaded] = OrderedDict()
        self._loading: dict[str | Path, threading.Lock] = {}
        self._guard = threading.Lock()

    def peek(self, name: str | Path) -> SoftPrompt | None:
        """What was last loaded under that name, from memory alone."""
        with self._guard:
            loaded = self._kept.get(name)
        return loaded.soft_prompt if loaded else None

    def get(self, name: str | Path) -> SoftPrompt:
        """Load a soft prompt, or return the one that is loaded and still current.

        Raises:
            InvalidReferenceError: The name has no known form.
            SoftPromptNotFoundError: Nothing of that name is here or to be had.
            InvalidSoftPromptError: The folder is malformed.
            UntrustedSoftPromptError: The rules refuse it, by now.
            LockFileError: The lock file does, by now.
        """
        policy = hub.current_policy()
        with self._guard:
            lock = self._loading.setdefault(name, threading.Lock())
        with lock:
            with self._guard:
                loaded = self._kept.get(name)
                if loaded is not None and loaded.commit is not None and loaded.policy == policy and not is_folder(name):
                    self._kept.move_to_end(name)
                    return loaded.soft_prompt
            folder, commit = self._find(name, policy)
            stamp = _stamp(folder)
            with self._guard:
                loaded = self._kept.get(name)
                if loaded and (loaded.folder, loaded.stamp) == (folder, stamp):
                    self._kept[name] = replace(loaded, policy=policy)
                    self._kept.move_to_end(name)
                    return loaded.soft_prompt
            soft_prompt = _load(folder, name, commit)
            with self._guard:
                self._kept[name] = _Loaded(folder, stamp, soft_prompt, commit, policy)
                self._kept.move_to_end(name)
                if len(self._kept) > self._max_kept:
                    self._kept.popitem(last=False)
            return soft_prompt

    def _find(self, name: str | Path, policy: hub.HubPolicy) -> tuple[Path, str | None]:
        folder, commit = hub.fetch_soft_prompt(SoftPromptRef.parse(name), policy=policy)
        return folder.absolute(), commit  # absolute: a relative name means another folder after a change of directory


def is_local(name: str | Path) -> bool:
    """Whether the name leads to a folder on this machine without asking the Hub."""
    return SoftPromptRef.parse(name).folder is not None or is_folder(name)


def is_folder(name: str | Path) -> bool:
    """Whether a soft prompt lies in a folder of exactly that name."""
    return (Path(name) / hub.SOFT_PROMPT_FILES[0]).is_file()


def _load(folder: Path, name: str | Path, commit: str | None) -> SoftPrompt:
    from langchain_softprompt.soft_prompt import SoftPrompt  # brings in torch, so not before the first use

    return SoftPrompt.read(folder, source=str(name), revision=commit)


def _stamp(folder: Path) -> _Stamp:
    """What changes when a file of the folder is written again."""

    def of(file: Path) -> tuple[int, int, int] | None:
        try:
            status = file.stat()
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    return tuple(of(folder / name) for name in hub.SOFT_PROMPT_FILES)


SHELF = Shelf()
