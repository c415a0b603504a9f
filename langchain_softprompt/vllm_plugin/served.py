"""ServedSoftPrompts: the soft prompts that a server was started with, by content hash."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from langchain_softprompt.errors import SoftPromptError
from langchain_softprompt.hub.local import CONFIG_FILE, MANIFEST_FILE, TENSOR_FILE
from langchain_softprompt.soft_prompt import SoftPrompt

logger = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int], ...]


class ServedSoftPrompts:
    """Soft prompts by content hash.

    Every process of a server has its own: the one that takes requests, the scheduler, and each worker. A folder of soft
    prompts is looked through again when one is asked for that is not known, so that new ones need no restart.

    Args:
        sources: Each a soft prompt's folder, a folder of such folders, or a name on the Hub with a commit.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self._sources = list(sources)
        self._known: dict[str, SoftPrompt] = {}
        self._current: dict[str, str] = {}  # content hash of what a name last led to
        self._read: dict[str, _Stamp] = {}  # what was read well, by what its files were like then
        self._told: dict[str, _Stamp] = {}  # what could not be read, and was told of
        self._guard = threading.Lock()
        self._look()

    def find(self, content_hash: str) -> SoftPrompt | None:
        """The soft prompt of a content hash; ``None`` where it is not served."""
        found = self._known.get(content_hash)
        if found is None:
            self._look()
            found = self._known.get(content_hash)
        return found

    def __iter__(self) -> Iterator[SoftPrompt]:
        """All that the folders hold, as far as it was looked, in the order of their hashes."""
        return iter([self._known[name] for name in sorted(set(self._current.values()))])

    def _look(self) -> None:
        with self._guard:
            for name, stamp in _places(self._sources):
                if self._read.get(name) == stamp:
                    continue
                try:
                    soft_prompt = SoftPrompt.load(name)
                except SoftPromptError as error:  # Something that is still being copied, maybe: it is tried again when one is asked for.
                    if self._told.get(name) != stamp:
                        self._told[name] = stamp
                        logger.error("Soft prompt %s is not served: %s", name, error)  # noqa: TRY400 - the sentence says it all
                    continue
                self._read[name] = stamp
                self._current[name] = soft_prompt.content_hash
                self._known[soft_prompt.content_hash] = soft_prompt


def _places(sources: Iterable[str]) -> Iterator[tuple[str, _Stamp]]:
    """Names to load, each with what tells that it has changed."""
    for source in sources:
        folder = Path(source).expanduser()
        if not folder.is_dir():
            yield source, ()
        elif (folder / CONFIG_FILE).is_file():
            yield str(folder), _stamp(folder)
        else:
            for place in sorted(folder.iterdir()):
                if (place / CONFIG_FILE).is_file():
                    yield str(place), _stamp(place)


def _stamp(folder: Path) -> _Stamp:
    """Time and size of each file: they come one after the other, and a manifest that comes last has to be read, too."""
    found: list[tuple[int, int]] = []
    for name in (CONFIG_FILE, TENSOR_FILE, MANIFEST_FILE):
        try:
            told = (folder / name).stat()
            found.append((told.st_mtime_ns, told.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)


__all__ = ["ServedSoftPrompts"]
