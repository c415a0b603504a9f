"""What would be published: files compared with those that are on the Hub."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_softprompt.errors import HubError, InvalidReferenceError
from langchain_softprompt.hub.client import ASKING, client, in_plain_words
from langchain_softprompt.hub.integrity import digest_like, published_hash
from langchain_softprompt.hub.local import SOFT_PROMPT_FILES
from langchain_softprompt.hub.pins import is_commit
from langchain_softprompt.refs import SoftPromptRef

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

_TEXTS = (".json", ".md")
_MOST_SHOWN = 1 << 20
_DEFAULT_BRANCH = "main"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file that is to be published.

    Attributes:
        path: Its path in the repository.
        content: What it is to hold.
        state: Whether it is new there, changes, is the same already, or goes: it belongs to the soft prompt that was there.
        diff: Lines of a unified diff, for texts that change.
    """

    path: str
    content: bytes
    state: Literal["new", "changed", "same", "removed"]
    diff: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {"path": self.path, "bytes": len(self.content), "state": self.state, "diff": list(self.diff)}


@dataclass(frozen=True, slots=True)
class Publication:
    """What would be published, and onto what.

    Attributes:
        repo_id: The repository.
        branch: The branch.
        head: The commit that the plan was made on; ``None`` where there is no repository yet.
        files: The files.
        new_branch: Whether the branch is still to be made, from `head`.
        private: Whether the repository is a private one already.
    """

    repo_id: str
    branch: str
    head: str | None
    files: tuple[PlannedFile, ...]
    new_branch: bool = False
    private: bool = False

    @property
    def changes(self) -> tuple[PlannedFile, ...]:
        """The files that are not there yet as they are to be."""
        return tuple(file for file in self.files if file.state != "same")


def plan_publication(repo_id: str, files: Mapping[str, bytes], *, branch: str = "main") -> Publication:
    """Compare files with what is on the Hub; nothing is changed there.

    Args:
        repo_id: ``org/name``.
        files: Contents by path in the repository.
        branch: The branch to publish on.

    Raises:
        InvalidReferenceError: `repo_id` is no ``org/name``, or `branch` can't be a branch's name.
        HubAccessError: The token may not read the repository.
        SoftPromptNotFoundError: The repository is there, the branch is not.
        HubUnreachableError: The Hub can't be reached.
    """
    from huggingface_hub import RepoFile, errors

    check_name("branch", repo_id, branch)
    api = client()
    with in_plain_words(repo_id, branch, ASKING, "look at"), tempfile.TemporaryDirectory() as beside:
        try:
            info = api.model_info(repo_id, revision=_DEFAULT_BRANCH)
        except errors.GatedRepoError:
            raise
        except errors.RepositoryNotFoundError as error:
            if branch != _DEFAULT_BRANCH:
                msg = f"{repo_id} is not there yet, and a new repository begins on {_DEFAULT_BRANCH}. Publish it there first."
                raise HubError(msg) from error
            return Publication(repo_id, branch, None, tuple(PlannedFile(path, content, "new") for path, content in files.items()))
        head, new_branch = str(info.sha), False
        if branch != _DEFAULT_BRANCH:
            found = _branch_head(api, repo_id, branch)
            head, new_branch = found or head, found is None
        asked = dict.fromkeys([*files, *SOFT_PROMPT_FILES])
        there = {entry.path: entry for entry in api.get_paths_info(repo_id, list(asked), revision=head)}
        # What is left of another soft prompt would be read as if it belonged to this one.
        planned = [PlannedFile(path, b"", "removed") for path in SOFT_PROMPT_FILES if path in there and path not in files]
        for path, content in files.items():
            entry = there.get(path)
            if not isinstance(entry, RepoFile):
                planned.append(PlannedFile(path, content, "new"))
            elif holds(entry, content):
                planned.append(PlannedFile(path, content, "same"))
            else:
                shown = path.endswith(_TEXTS) and entry.size <= _MOST_SHOWN
                old = Path(api.hf_hub_download(repo_id, path, revision=head, cache_dir=beside)).read_bytes() if shown else b""
                planned.append(PlannedFile(path, content, "changed", _diff(path, old, content) if shown else ()))
    return Publication(repo_id, branch, head, tuple(planned), new_branch, bool(info.private))


def check_name(what: str, repo_id: str, name: str) -> None:
    """Refuse a branch's or a tag's name that could not be read back out of ``org/name@NAME``, or reads as something else.

    Raises:
        InvalidReferenceError: It is such a name, or `repo_id` is no ``org/name``.
    """
    ref = SoftPromptRef.parse(f"{repo_id}@{name}")
    if ref.repo_id != repo_id:
        msg = f"{repo_id!r} is a folder's name. A repository on the Hub is named 'org/name'."
        raise InvalidReferenceError(msg)
    if ref.revision != name or is_commit(name.lower()) or name.startswith("refs/") or name == "HEAD":
        msg = f"{what}: {name!r} can't be the name of a {what}: it would be read as something else in '{repo_id}@{name}'. Choose another."
        raise InvalidReferenceError(msg)


def _branch_head(api: HfApi, repo_id: str, branch: str) -> str | None:
    """The commit of a branch; ``None`` where there is none of that name."""
    refs = api.list_repo_refs(repo_id)
    if any(tag.name == branch for tag in refs.tags):
        msg = f"branch: {branch!r} is a tag of {repo_id}, and a tag stays where it is. Choose another."
        raise InvalidReferenceError(msg)
    return next((str(known.target_commit) for known in refs.branches if known.name == branch), None)


def holds(entry: RepoFile, content: bytes) -> bool:
    """Whether a file on the Hub has that content; where its list has no hash, whether it has its size."""
    there = published_hash(entry)
    return digest_like(there, content) == there if there else entry.size == len(content)


def _diff(path: str, old: bytes, new: bytes) -> tuple[str, ...]:
    before, after = (content.decode("utf-8", "replace").splitlines() for content in (old, new))
    return tuple(difflib.unified_diff(before, after, f"{path} (there)", f"{path} (yours)", lineterm=""))


__all__ = ["PlannedFile", "Publication", "check_name", "holds", "plan_publication"]
