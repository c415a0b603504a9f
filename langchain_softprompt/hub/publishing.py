"""Publishing files in one commit, after a look at what would change."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_softprompt.errors import HubError, InvalidReferenceError, InvalidSettingsError, PublishConflictError
from langchain_softprompt.hub.client import ASKING, client, in_plain_words
from langchain_softprompt.hub.integrity import digest_like
from langchain_softprompt.hub.local import SOFT_PROMPT_FILES
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
    """

    repo_id: str
    branch: str
    head: str | None
    files: tuple[PlannedFile, ...]
    new_branch: bool = False

    @property
    def changes(self) -> tuple[PlannedFile, ...]:
        """The files that are not there yet as they are to be."""
        return tuple(file for file in self.files if file.state != "same")


@dataclass(frozen=True, slots=True)
class Published:
    """What was published.

    Attributes:
        pin: The name to use from now on, with the whole commit.
        url: Its page, or that of the pull request.
        commit: The commit.
    """

    pin: str
    url: str
    commit: str


def plan_publication(repo_id: str, files: Mapping[str, bytes], *, branch: str = "main") -> Publication:
    """Compare files with what is on the Hub; nothing is changed there.

    Args:
        repo_id: ``org/name``.
        files: Contents by path in the repository.
        branch: The branch to publish on.

    Raises:
        InvalidReferenceError: `repo_id` is no ``org/name``.
        HubAccessError: The token may not read the repository.
        SoftPromptNotFoundError: The repository is there, the branch is not.
        HubUnreachableError: The Hub can't be reached.
    """
    from huggingface_hub import RepoFile, errors

    if SoftPromptRef.parse(f"{repo_id}@{branch}").repo_id != repo_id:
        msg = f"{repo_id!r} is a folder's name. A repository on the Hub is named 'org/name'."
        raise InvalidReferenceError(msg)
    api = client()
    with in_plain_words(repo_id, branch, ASKING, "look at"), tempfile.TemporaryDirectory() as beside:
        new_branch = False
        try:
            head = api.model_info(repo_id, revision=branch).sha
        except errors.GatedRepoError:
            raise
        except errors.RevisionNotFoundError:
            head, new_branch = api.model_info(repo_id).sha, True
        except errors.RepositoryNotFoundError as error:
            if branch != _DEFAULT_BRANCH:
                msg = f"{repo_id} is not there yet, and a new repository begins on {_DEFAULT_BRANCH}. Publish it there first."
                raise HubError(msg) from error
            return Publication(repo_id, branch, None, tuple(PlannedFile(path, content, "new") for path, content in files.items()))
        asked = dict.fromkeys([*files, *SOFT_PROMPT_FILES])
        there = {entry.path: entry for entry in api.get_paths_info(repo_id, list(asked), revision=head)}
        # What is left of another soft prompt would be read as if it belonged to this one.
        planned = [PlannedFile(path, b"", "removed") for path in SOFT_PROMPT_FILES if path in there and path not in files]
        for path, content in files.items():
            entry = there.get(path)
            if not isinstance(entry, RepoFile):
                planned.append(PlannedFile(path, content, "new"))
            elif _is_same(entry, content):
                planned.append(PlannedFile(path, content, "same"))
            else:
                shown = path.endswith(_TEXTS) and entry.size <= _MOST_SHOWN
                old = Path(api.hf_hub_download(repo_id, path, revision=head, cache_dir=beside)).read_bytes() if shown else b""
                planned.append(PlannedFile(path, content, "changed", _diff(path, old, content) if shown else ()))
    return Publication(repo_id, branch, head, tuple(planned), new_branch)


def publish(
    publication: Publication, message: str, *, private: bool = False, pull_request: bool = False, tag: str | None = None
) -> Published:
    """Publish what changes in one commit on top of the commit that the plan was made on.

    Args:
        publication: The plan.
        message: The commit's message.
        private: Whether a repository that is made for it is private.
        pull_request: Propose it instead of publishing it.
        tag: A tag to give to the commit; where nothing changes, to the commit that is there.

    Raises:
        InvalidSettingsError: A tag for a pull request, or a private repository that is there already.
        InvalidReferenceError: `tag` can't be one.
        PublishConflictError: The branch moved on since the plan was made, or somebody made the repository; nothing was published.
        HubAccessError: The token may not write there.
        HubUnreachableError: The Hub can't be reached.
        HubError: It refuses what is published, its front matter for instance.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, errors

    api = client()
    repo_id, head = publication.repo_id, publication.head
    _check_wishes(publication, private=private, pull_request=pull_request, tag=tag)
    with in_plain_words(repo_id, None, ASKING, "publish to"):
        if tag is not None and head is not None and any(known.name == tag for known in api.list_repo_refs(repo_id).tags):
            msg = f"{repo_id} has a tag {tag!r} already, and nothing was published. Choose another."
            raise PublishConflictError(msg)
        if head is None:
            try:
                api.create_repo(repo_id, private=private, exist_ok=False)
            except errors.HfHubHTTPError as error:
                if error.response.status_code != 409:
                    raise
                msg = f"{repo_id} is there by now, or is not yours to see. Nothing was published. Look at the changes again, then publish."
                raise PublishConflictError(msg) from error
            head = api.model_info(repo_id).sha
        operations = [
            CommitOperationDelete(file.path) if file.state == "removed" else CommitOperationAdd(file.path, file.content)
            for file in publication.changes
        ]
        if not operations:
            return _unchanged(api, publication, tag)
        if publication.new_branch:
            api.create_branch(repo_id, branch=publication.branch, revision=head)
        try:
            made = api.create_commit(
                repo_id,
                operations,
                commit_message=message,
                revision=publication.branch,
                parent_commit=head,
                create_pr=pull_request,
            )
        except errors.HfHubHTTPError as error:
            if error.response.status_code not in (409, 412):
                raise
            msg = (
                f"{repo_id} has moved on since its changes were shown (from commit {head}). Nothing was published. Look at the changes "
                "again, then publish."
            )
            raise PublishConflictError(msg) from error
    if tag is not None:
        with in_plain_words(repo_id, None, ASKING, f"set the tag {tag!r}, but published {repo_id}@{made.oid}, on"):
            api.create_tag(repo_id, tag=tag, revision=made.oid)
    return Published(f"{repo_id}@{made.oid}", str(made.pr_url or made.commit_url), made.oid)


def _check_wishes(publication: Publication, *, private: bool, pull_request: bool, tag: str | None) -> None:
    """What can't be had is told before anything is published."""
    if tag is not None:
        SoftPromptRef.parse(f"{publication.repo_id}@{tag}")
    if tag is not None and pull_request:
        msg = "tag: a pull request has no commit of the branch to tag. Tag it once it is merged."
        raise InvalidSettingsError(msg)
    if private and publication.head is not None:
        msg = f"private: {publication.repo_id} is there already, and stays as private or public as it is. Change that on its Hub page."
        raise InvalidSettingsError(msg)


def _unchanged(api: HfApi, publication: Publication, tag: str | None) -> Published:
    repo_id, head = publication.repo_id, str(publication.head)
    if tag is None:
        msg = f"{repo_id} holds exactly these files already, at commit {head}."
        raise HubError(msg)
    api.create_tag(repo_id, tag=tag, revision=head)
    return Published(f"{repo_id}@{head}", f"{api.endpoint}/{repo_id}", head)


def _is_same(entry: RepoFile, content: bytes) -> bool:
    there = entry.lfs.sha256 if entry.lfs is not None else entry.blob_id
    return digest_like(there, content) == there


def _diff(path: str, old: bytes, new: bytes) -> tuple[str, ...]:
    before, after = (content.decode("utf-8", "replace").splitlines() for content in (old, new))
    return tuple(difflib.unified_diff(before, after, f"{path} (there)", f"{path} (yours)", lineterm=""))


__all__ = ["PlannedFile", "Publication", "Published", "plan_publication", "publish"]
