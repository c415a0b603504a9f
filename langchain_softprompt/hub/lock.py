"""``soft-prompts.lock``: commits and hashes of every soft prompt of an application."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from langchain_softprompt.errors import InvalidReferenceError, LockFileError, SoftPromptNotFoundError
from langchain_softprompt.hub.integrity import sha256_of
from langchain_softprompt.hub.local import CONFIG_FILE, SOFT_PROMPT_FILES, run_of_best
from langchain_softprompt.hub.scans import ScanState
from langchain_softprompt.printable import printable, shown
from langchain_softprompt.refs import SoftPromptRef

_MOST_BYTES = 4 << 20
_PATIENCE = 30.0  # seconds; a lock file is written in a moment
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LockedSoftPrompt(BaseModel):
    """One soft prompt as it was when it was locked.

    Attributes:
        commit: Its commit; ``None`` for a folder.
        files: SHA-256 by file.
        scan: What the Hub's scanners said of that commit then.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    files: Annotated[dict[Literal["adapter_config.json", "adapter_model.safetensors", "soft_prompt.json"], _Hash], Field(min_length=1)]
    scan: ScanState | None = None

    @classmethod
    def of(cls, folder: Path, commit: str | None, scan: ScanState | None = None) -> Self:
        """What is in a folder now.

        Raises:
            SoftPromptNotFoundError: No soft prompt is.
        """
        files = _hashes(folder)
        if CONFIG_FILE not in files:
            msg = f"There is no soft prompt in {str(folder)!r} to lock. Check the path; a Hub soft prompt is named 'org/name'."
            raise SoftPromptNotFoundError(msg)
        return cls(commit=commit, files=files, scan=scan)  # type: ignore[arg-type] # the names are SOFT_PROMPT_FILES

    def check(self, name: str, folder: Path, lock_file: Path) -> None:
        """Refuse a folder whose files are not those that were locked.

        Raises:
            LockFileError: One was changed, is missing, or is new.
        """
        found = _hashes(folder)
        differing = sorted(file for file in {*found, *self.files} if found.get(file) != dict(self.files).get(file))  # type: ignore[call-overload]
        if differing:
            msg = (
                f"{name}: {', '.join(differing)} in {folder} is not what {lock_file} holds. If the change is wanted, lock it anew: "
                f"langchain-softprompt lock {name}"
            )
            raise LockFileError(msg)


class SoftPromptLock(BaseModel):
    """The file.

    Attributes:
        version: Of its layout.
        soft_prompts: By the name that the application uses.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    version: Literal[1] = 1
    soft_prompts: dict[str, LockedSoftPrompt] = {}

    @field_validator("soft_prompts")
    @classmethod
    def _names_can_be_read(cls, entries: dict[str, LockedSoftPrompt]) -> dict[str, LockedSoftPrompt]:
        for name, entry in entries.items():
            try:
                ref = SoftPromptRef.parse(name)
                (ref.folder or Path(name)).expanduser()
            except (InvalidReferenceError, RuntimeError) as error:
                msg = f"the entry {shown(name)}: {printable(error, 400)}"
                raise ValueError(msg) from error
            if entry.commit is not None and ref.repo_id is None:
                msg = f"the entry {shown(name)}: a folder has no commit"
                raise ValueError(msg)
        return entries

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """Read it; ``None`` where there is none.

        Raises:
            LockFileError: It is there and can't be understood: an application that was locked must not run unlocked.
        """
        try:
            if file.exists() and not file.is_file():
                msg = f"{file} is no file. Name another with LANGCHAIN_SOFTPROMPT_LOCK_FILE."
                raise LockFileError(msg)
            if file.stat().st_size > _MOST_BYTES:
                msg = f"{file}: a lock file of more than {_MOST_BYTES} bytes. Make it anew: langchain-softprompt lock NAME..."
                raise LockFileError(msg)
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            if file.is_symlink():
                msg = f"{file} is a link to a file that is not there. Mend the link, or remove it."
                raise LockFileError(msg) from None
            return None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field, problem = ".".join(map(str, first["loc"])) or "content", first["msg"].removeprefix("Value error, ").rstrip(".")
            msg = f"{file}: {printable(field)}: {problem}. Mend it, or remove it and make it anew: langchain-softprompt lock NAME..."
            raise LockFileError(msg) from error
        except OSError as error:
            msg = f"{file} can't be read: {error}. Mend its rights, or name another with LANGCHAIN_SOFTPROMPT_LOCK_FILE."
            raise LockFileError(msg) from error

    def entry(self, ref: SoftPromptRef, folder: Path | None, lock_file: Path) -> LockedSoftPrompt | None:
        """What is locked under a name, or under another one that leads to the same commit or folder.

        Args:
            ref: The name.
            folder: The folder that the name leads to; ``None`` where it leads to the Hub.
            lock_file: The file this is, for errors.

        Returns:
            The entry; ``None`` for a folder that is not in it.

        Raises:
            LockFileError: A name on the Hub is not in it, or leads elsewhere than it did when it was locked: to a folder by now, or to
                the Hub.
        """
        found = self.soft_prompts.get(str(ref)) or next(self._pinned_as(ref), None)
        again = f"langchain-softprompt lock {ref}"
        if folder is None and found is None:
            msg = (
                f"{ref} is not in {lock_file}, which pins every soft prompt of this application. If it is meant to be used, add it: {again}"
            )
        elif folder is None and found is not None and found.commit is None:
            msg = f"{ref} is a folder in {lock_file}, and no folder of that name is here. Put it there, or lock the one on the Hub: {again}"
        elif folder is not None and found is not None and found.commit is not None:
            msg = (
                f"{ref} is one on the Hub in {lock_file}, and a folder of that name stands before it: {folder}. Move the folder away, or "
                f"lock it in its place: {again}"
            )
        else:
            return found if folder is None or found is not None else self.of_folder(folder)
        raise LockFileError(msg)

    def _pinned_as(self, ref: SoftPromptRef) -> Iterator[LockedSoftPrompt]:
        for name, entry in self.soft_prompts.items():
            locked = SoftPromptRef.parse(name)
            if entry.commit is not None and SoftPromptRef(locked.repo_id, entry.commit, locked.subfolder) == ref:
                yield entry

    def of_folder(self, folder: Path) -> LockedSoftPrompt | None:
        """What is locked of a folder, however it is named; the folder of a training run stands for the best soft prompt in it."""
        places = {_place(Path(name)): entry for name, entry in self.soft_prompts.items() if entry.commit is None}
        run = run_of_best(folder)
        return places.get(_place(folder)) or (places.get(_place(run)) if run is not None else None)

    def with_entries(self, entries: Mapping[str, LockedSoftPrompt]) -> Self:
        """The same with entries added or changed."""
        return self.model_copy(update={"soft_prompts": {**self.soft_prompts, **entries}})

    @classmethod
    def add(cls, file: Path, entries: Mapping[str, LockedSoftPrompt]) -> None:
        """Add entries to the file, or change them there, and keep what other processes add at the same time.

        Raises:
            LockFileError: It can't be read, or can't be written.
        """
        with _alone(file):
            (cls.read(file) or cls()).with_entries(entries).write(file)

    def write(self, file: Path) -> None:
        """Write it whole, or leave it as it is; a link to it stays one.

        Raises:
            LockFileError: It can't be written.
        """
        told = self.model_dump(mode="json", exclude_none=True)
        told["soft_prompts"] = dict(sorted(told["soft_prompts"].items()))
        target = _place(file)
        new = target.with_name(f".{target.name}.{uuid.uuid4().hex}.new")
        try:
            new.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            new.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            msg = f"{file} can't be written: {error}."
            raise LockFileError(msg) from error


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """While no other process of this user writes the file. What is locked for it lies elsewhere: it stays there for good."""
    named = hashlib.sha256(os.fsencode(_place(file))).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else ""
    try:
        with FileLock(Path(tempfile.gettempdir()) / f"langchain-softprompt-{user}-{named}.lock", timeout=_PATIENCE):
            yield
    except Timeout as error:
        msg = f"{file} is being written by another process. Try again when it is done."
        raise LockFileError(msg) from error
    except OSError as error:
        msg = f"{file} can't be kept from being written by two at once: {error}. Set TMPDIR to a folder that can be written to."
        raise LockFileError(msg) from error


def _place(path: Path) -> Path:
    """Where a path leads, links followed; itself where that can't be told."""
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def _hashes(folder: Path) -> dict[str, str]:
    try:
        return {name: sha256_of(folder / name) for name in SOFT_PROMPT_FILES if (folder / name).is_file()}
    except OSError as error:
        msg = f"{folder} can't be compared with what is locked: {error}. Mend its rights."
        raise LockFileError(msg) from error


__all__ = ["LockedSoftPrompt", "SoftPromptLock"]
