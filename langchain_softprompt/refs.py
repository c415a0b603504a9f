"""SoftPromptRef: how a soft prompt is named. Parsed text only, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from langchain_softprompt.errors import InvalidReferenceError

_REPO_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPO_ID = re.compile(rf"{_REPO_PART}/{_REPO_PART}")
_FOLDER = re.compile(r"[./~\\]|[A-Za-z]:[\\/]")
# Of what git allows, the letters that are safe in a path and plain in a command line; between slashes as git has it.
_REVISION_PART = r"(?!\.)[A-Za-z0-9._+=,-]*[A-Za-z0-9_+=,-](?<!\.lock)"
_REVISION = re.compile(rf"(?=[A-Za-z0-9_])(?=.{{1,128}}\Z){_REVISION_PART}(?:/{_REVISION_PART})*")
_GRAMMAR = "'org/name', 'org/name@revision', 'org/name@revision#subfolder', or a folder such as './my-prompt'"


@dataclass(frozen=True, slots=True)
class SoftPromptRef:
    """A parsed reference to a soft prompt: a Hub repository or a local folder.

    Attributes:
        repo_id: ``org/name`` on the Hub; ``None`` for a folder.
        revision: Branch, tag or commit; ``None`` means the default branch.
        subfolder: Folder inside the repository, with forward slashes.
        folder: Local folder; ``None`` for a Hub reference.
    """

    repo_id: str | None = None
    revision: str | None = None
    subfolder: str | None = None
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str | Path) -> SoftPromptRef:
        """Read a reference.

        Text that starts with ``.``, ``/`` or ``~`` (or a Windows drive) is a folder, anything else must have the
        Hub form. Whether the folder or repository exists is not looked at here.

        Raises:
            InvalidReferenceError: The text has neither form.
        """
        if isinstance(text, Path):
            return cls(folder=text)
        if not isinstance(text, str):
            msg = f"A soft prompt is named by text or a path, not by {type(text).__name__}. Use {_GRAMMAR}."
            raise InvalidReferenceError(msg)
        if "\0" in text:
            msg = f"The soft-prompt reference {text!r} holds a NUL character. Use {_GRAMMAR}."
            raise InvalidReferenceError(msg)
        if _FOLDER.match(text):
            return cls(folder=Path(text))
        base, _, subfolder = text.partition("#")
        repo_id, _, revision = base.partition("@")
        ref = cls(repo_id=repo_id, revision=revision or None, subfolder=subfolder or None)
        ref._check(text)
        return ref

    def _check(self, text: str) -> None:
        problem = ""
        repo_id = self.repo_id or ""
        if not _REPO_ID.fullmatch(repo_id) or "--" in repo_id or ".." in repo_id:
            problem = f"{repo_id!r} is not 'org/name'"
        elif "@" in text.partition("#")[0] and not self.revision:
            problem = "the revision after '@' is empty"
        elif self.revision and (not _REVISION.fullmatch(self.revision) or ".." in self.revision):
            problem = f"{self.revision!r} is not a branch, tag or commit"
        elif "#" in text and not self.subfolder:
            problem = "the subfolder after '#' is empty"
        elif self.subfolder and not _is_plain_relative(self.subfolder):
            problem = f"the subfolder {self.subfolder!r} is not a plain relative path"
        if problem:
            msg = f"Can't read the soft-prompt reference {text!r}: {problem}. Use {_GRAMMAR}."
            raise InvalidReferenceError(msg)

    def __str__(self) -> str:
        if self.folder is not None:
            # Path drops a leading "./", without which a folder would read as a Hub repository.
            text = str(self.folder)
            return text if _FOLDER.match(text) else f"./{text}"
        revision = f"@{self.revision}" if self.revision else ""
        subfolder = f"#{self.subfolder}" if self.subfolder else ""
        return f"{self.repo_id}{revision}{subfolder}"


def _is_plain_relative(path: str) -> bool:
    parts = PurePosixPath(path)
    return (
        not parts.is_absolute() and "\\" not in path and "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))
    )
