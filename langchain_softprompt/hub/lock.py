"""``soft-prompts.lock``: commits and hashes of every soft prompt of an application."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_softprompt.errors import LockFileError
from langchain_softprompt.hub.integrity import sha256_of
from langchain_softprompt.hub.local import SOFT_PROMPT_FILES
from langchain_softprompt.hub.scans import ScanState
from langchain_softprompt.refs import SoftPromptRef

_MOST_BYTES = 4 << 20
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
        """What is in a folder now."""
        return cls(commit=commit, files=_hashes(folder), scan=scan)  # type: ignore[arg-type] # the names are SOFT_PROMPT_FILES

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

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """Read it; ``None`` where there is none.

        Raises:
            LockFileError: It is there and can't be understood: an application that was locked must not run unlocked.
        """
        try:
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
            field = ".".join(map(str, first["loc"]))
            problem = f"{field}: {first['msg']}" if field else first["msg"]
            msg = f"{file}: {problem}. Mend it, or remove it and make it anew: langchain-softprompt lock NAME..."
            raise LockFileError(msg) from error
        except OSError as error:
            msg = f"{file} can't be read: {error}. Mend its rights, or name another with LANGCHAIN_SOFTPROMPT_LOCK_FILE."
            raise LockFileError(msg) from error

    def entry(self, ref: SoftPromptRef, lock_file: Path) -> LockedSoftPrompt:
        """What is locked under a name on the Hub, or under another one that leads to the same commit.

        Raises:
            LockFileError: It is not in it.
        """
        pinned = (entry for name, entry in self.soft_prompts.items() if entry.commit and _pins(name, entry.commit) == ref)
        found = self.soft_prompts.get(str(ref)) or next(pinned, None)
        if found is None:
            msg = (
                f"{ref} is not in {lock_file}, which pins every soft prompt of this application. If it is meant to be used, add it: "
                f"langchain-softprompt lock {ref}"
            )
            raise LockFileError(msg)
        return found

    def of_folder(self, folder: Path) -> LockedSoftPrompt | None:
        """What is locked of a folder, however it is named."""
        for name, entry in self.soft_prompts.items():
            ref = SoftPromptRef.parse(name)
            if ref.folder is not None and ref.folder.expanduser().resolve() in (folder.resolve(), folder.resolve().parent):
                return entry
        return None

    def with_entries(self, entries: Mapping[str, LockedSoftPrompt]) -> Self:
        """The same with entries added or changed."""
        return self.model_copy(update={"soft_prompts": {**self.soft_prompts, **entries}})

    def write(self, file: Path) -> None:
        """Write it whole, or leave it as it is."""
        told = self.model_dump(mode="json", exclude_none=True)
        told["soft_prompts"] = dict(sorted(told["soft_prompts"].items()))
        new = file.with_name(f".{file.name}.new")
        try:
            new.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            new.replace(file)
        except OSError as error:
            msg = f"{file} can't be written: {error}."
            raise LockFileError(msg) from error


def _pins(name: str, commit: str) -> SoftPromptRef:
    """A locked name, pinned to its commit."""
    ref = SoftPromptRef.parse(name)
    return SoftPromptRef(ref.repo_id, commit, ref.subfolder)


def _hashes(folder: Path) -> dict[str, str]:
    return {name: sha256_of(folder / name) for name in SOFT_PROMPT_FILES if (folder / name).is_file()}


__all__ = ["LockedSoftPrompt", "SoftPromptLock"]
