"""RunFolder: all that a run writes, in one folder that a killed run can be gone on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from langchain_softprompt.errors import RunFolderError
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.training.state import TrainingState, write_whole

_SETTINGS, _LOG, _STATE, _LOCK = "settings.json", "log.jsonl", "state.safetensors", ".lock"


class RunFolder:
    """A run's folder.

    ::

        settings.json       what was asked for: enough to go on from, or to do it again
        log.jsonl           one line a step
        state.safetensors   where the run stands
        initial/            the soft prompt before the first step
        best/               the soft prompt to use
        last/               the soft prompt after the last step
        report.html         the run in pictures and tables

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = FileLock(self.path / _LOCK)

    @classmethod
    def create(cls, path: str | Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> Self:
        """Begin a run in a new or empty folder, or in the place of an older run.

        Raises:
            RunFolderError: The folder can't be made, or holds a run or anything else.
        """
        cls.check_free(path, overwrite=overwrite)
        folder = cls(path)
        folder.lock()
        for name in (_STATE, _LOG):
            (folder.path / name).unlink(missing_ok=True)
        write_whole(folder.path / _SETTINGS, json.dumps(dict(settings), indent=2, ensure_ascii=False).encode() + b"\n")
        return folder

    @classmethod
    def announce(cls, path: str | Path, notes: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Write down what was asked for before any work, so that a run that is killed before its first step is known by its folder.

        Raises:
            RunFolderError: As for `create`.
        """
        cls.create(path, {"notes": dict(notes)}, overwrite=overwrite).close()

    @property
    def begun(self) -> bool:
        """Whether there is more than what was asked for: a run that may be gone on with."""
        return set(self.settings()) != {"notes"}

    @staticmethod
    def check_free(path: str | Path, *, overwrite: bool = False) -> None:
        """Make the folder, and see whether a run may begin in it; before the data is read, not after.

        Raises:
            RunFolderError: The folder can't be made, or holds a run or anything else.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = {entry.name for entry in folder.iterdir()} - {_LOCK}
        except OSError as error:
            msg = f"output: can't make the folder {folder}: {error}. Choose another one."
            raise RunFolderError(msg) from error
        if held and not overwrite and not _only_announced(folder, held):
            what = "a run already" if _SETTINGS in held else "other files"
            msg = f"output: {folder} holds {what}. Go on with it (--resume), replace it (--overwrite), or choose another folder."
            raise RunFolderError(msg)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the folder of a run that was begun.

        Raises:
            RunFolderError: There is none, or another process is at it.
        """
        folder = cls(path)
        if not (folder.path / _SETTINGS).is_file():
            msg = f"{folder.path} is no run folder: it has no {_SETTINGS}. Name the folder that was given as output."
            raise RunFolderError(msg)
        folder.lock()
        return folder

    def lock(self) -> None:
        """Keep other processes away; the lock goes with the process."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            msg = f"Another process is training in {self.path}. Wait for it, or stop it."
            raise RunFolderError(msg) from error

    def close(self) -> None:
        """Let other processes in."""
        self._lock.release(force=True)

    def settings(self) -> dict[str, Any]:
        """What was asked for.

        Raises:
            RunFolderError: The file can't be read.
        """
        file = self.path / _SETTINGS
        try:
            content: dict[str, Any] = dict(json.loads(file.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            msg = f"{file} can't be read: {error}. Start the run again in another folder."
            raise RunFolderError(msg) from error
        return content

    def check_same(self, settings: Mapping[str, Any]) -> None:
        """Refuse to go on with anything but what the run was begun with.

        Raises:
            RunFolderError: Something differs; the error names it.
        """
        begun, now = self.settings(), json.loads(json.dumps(dict(settings)))
        for name in now:
            if name in begun and begun[name] != now[name]:
                was, now_is = _short(begun[name]), _short(now[name])
                msg = f"{self.path} was begun with another {name}: {was}, now {now_is}. Use the same, or another folder."
                raise RunFolderError(msg)

    def state(self) -> TrainingState | None:
        """Where the run stands; ``None`` before its first saved state."""
        file = self.path / _STATE
        return TrainingState.load(file) if file.exists() else None

    def save_state(self, state: TrainingState) -> None:
        """Write where the run stands."""
        state.save(self.path / _STATE)

    def save_soft_prompt(self, name: str, soft_prompt: SoftPrompt) -> Path:
        """Write one of the run's soft prompts."""
        return soft_prompt.save(self.path / name)

    def log(self, entry: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        with (self.path / _LOG).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(dict(entry), ensure_ascii=False) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """The log's lines; one that was cut off by a kill is left out."""
        file = self.path / _LOG
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        entries = []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
        return entries

    def cut_log(self, step: int) -> None:
        """Forget what was logged after a step: those steps will be taken again."""
        kept = [entry for entry in self.entries() if entry.get("step", 0) <= step]
        write_whole(self.path / _LOG, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in kept).encode())


def _only_announced(folder: Path, held: set[str]) -> bool:
    """Whether nothing was done there but to write down what was asked for."""
    return held == {_SETTINGS} and not RunFolder(folder).begun


def _short(value: object, length: int = 80) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= length else text[: length - 1] + "…"


__all__ = ["RunFolder"]
