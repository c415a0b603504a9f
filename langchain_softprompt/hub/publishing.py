"""Publishing files in one commit on top of the one that the plan was made on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_softprompt.errors import HubError, InvalidSettingsError, PublishConflictError, SoftPromptError
from langchain_softprompt.hub.client import ASKING, client, in_plain_words, without_secrets
from langchain_softprompt.hub.publication import Publication, check_name, holds

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    _Operations = list[CommitOperationAdd | CommitOperationDelete]

_CONFLICTS = (409, 412)


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


def publish(
    publication: Publication, message: str, *, private: bool = False, pull_request: bool = False, tag: str | None = None
) -> Published:
    """Publish what changes in one commit on top of the commit that the plan was made on.

    A repository or a branch that is made for it goes again where the commit fails.

    Args:
        publication: The plan.
        message: The commit's message.
        private: Whether a repository that is made for it is private.
        pull_request: Propose it instead of publishing it.
        tag: A tag to give to the commit; where nothing changes, to the commit that is there.

    Raises:
        InvalidSettingsError: A tag for a pull request, or a private repository that is there already as a public one.
        InvalidReferenceError: `tag` can't be one.
        PublishConflictError: The branch moved on since the plan was made, or somebody made the repository, the branch or the tag;
            nothing was published.
        HubAccessError: The token may not write there.
        HubUnreachableError: The Hub can't be reached.
        HubError: It refuses what is published, its front matter for instance, or would leave out a part of it.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    _check_wishes(publication, private=private, pull_request=pull_request, tag=tag)
    api, repo_id = client(), publication.repo_id
    operations: _Operations = [
        CommitOperationDelete(file.path) if file.state == "removed" else CommitOperationAdd(file.path, file.content)
        for file in publication.changes
    ]
    with _asking(publication):
        if tag is not None and publication.head is not None:
            _check_free(api, repo_id, tag)
        if not operations:
            return _unchanged(api, publication, tag)
    with _ground(api, publication, private=private) as head, _asking(publication):
        _check_nothing_is_left_out(api, publication, operations, pull_request=pull_request)
        with _conflict(
            f"{repo_id} has moved on since its changes were shown (from commit {head}). Nothing was published. Look at the changes "
            "again, then publish."
        ):
            made = api.create_commit(
                repo_id,
                operations,
                commit_message=message,
                revision=publication.branch,
                parent_commit=head,
                create_pr=pull_request,
            )
    commit = str(made.oid)
    pin = f"{repo_id}@{commit}"
    with in_plain_words(repo_id, None, ASKING, f"look at what was published: {pin}, on"):
        _check_it_is_there(api, publication, commit, str(made.pr_revision or commit))
    if tag is not None:
        with in_plain_words(repo_id, None, ASKING, f"set the tag {tag!r}, but published {pin}, on"):
            api.create_tag(repo_id, tag=tag, revision=commit)
    return Published(pin, without_secrets(str(made.pr_url or made.commit_url)), commit)


def _check_wishes(publication: Publication, *, private: bool, pull_request: bool, tag: str | None) -> None:
    """What can't be had is told before anything is published."""
    if tag is not None:
        check_name("tag", publication.repo_id, tag)
        if tag == publication.branch:
            msg = f"tag: {tag!r} is the branch. Choose another."
            raise InvalidSettingsError(msg)
    if tag is not None and pull_request:
        msg = "tag: a pull request has no commit of the branch to tag. Tag it once it is merged."
        raise InvalidSettingsError(msg)
    if private and publication.head is not None and not publication.private:
        msg = f"private: {publication.repo_id} is there already, and stays public. Change that on its Hub page."
        raise InvalidSettingsError(msg)


def _check_free(api: HfApi, repo_id: str, tag: str) -> None:
    refs = api.list_repo_refs(repo_id)
    for what, known in (("tag", refs.tags), ("branch", refs.branches)):
        if any(ref.name == tag for ref in known):
            msg = f"{repo_id} has a {what} {tag!r} already, and nothing was published. Choose another."
            raise PublishConflictError(msg)


def _unchanged(api: HfApi, publication: Publication, tag: str | None) -> Published:
    repo_id, head = publication.repo_id, str(publication.head)
    if tag is None:
        msg = f"{repo_id} holds exactly these files already, at commit {head}."
        raise HubError(msg)
    api.create_tag(repo_id, tag=tag, revision=head)
    return Published(f"{repo_id}@{head}", without_secrets(f"{api.endpoint}/{repo_id}"), head)


@contextmanager
def _ground(api: HfApi, publication: Publication, *, private: bool) -> Iterator[str]:
    """The commit to build on. A repository or branch that is made for it is taken back where the block fails."""
    repo_id, branch, head = publication.repo_id, publication.branch, publication.head
    made = ""
    try:
        with _asking(publication):
            if head is None:
                with _conflict(
                    f"{repo_id} is there by now, or is not yours to see. Nothing was published. Look at the changes again, then publish."
                ):
                    api.create_repo(repo_id, private=private, exist_ok=False)
                made = f"The repository {repo_id}"
                head = str(api.model_info(repo_id).sha)
            elif publication.new_branch:
                with _conflict(
                    f"{repo_id} has a branch {branch!r} by now. Nothing was published. Look at the changes again, then publish."
                ):
                    api.create_branch(repo_id, branch=branch, revision=head)
                made = f"The branch {branch} of {repo_id}"
        yield head
    except BaseException as error:
        if not made or _is_taken_back(api, publication, head) or not isinstance(error, SoftPromptError):
            raise
        msg = f"{error} {made} was made for it and remains; the same command goes on from there."
        raise type(error)(msg) from error


def _is_taken_back(api: HfApi, publication: Publication, head: str | None) -> bool:
    """Remove what was made, unless somebody has built on it by now; whether it is gone."""
    repo_id = publication.repo_id
    try:
        with _asking(publication):
            if str(api.model_info(repo_id, revision=publication.branch).sha) != head:
                return False
            if publication.head is None:
                api.delete_repo(repo_id)
            else:
                api.delete_branch(repo_id, branch=publication.branch)
    except SoftPromptError:
        return False
    return True


def _check_nothing_is_left_out(api: HfApi, publication: Publication, operations: _Operations, *, pull_request: bool) -> None:
    """Refuse where the repository's own ``.gitignore`` holds for a file: the client would publish the rest, and say no word."""
    from huggingface_hub import CommitOperationAdd

    additions = [operation for operation in operations if isinstance(operation, CommitOperationAdd)]
    api.preupload_lfs_files(publication.repo_id, additions, revision=publication.branch, create_pr=pull_request)
    ignored = [addition.path_in_repo for addition in additions if getattr(addition, "_should_ignore", None)]
    if ignored:
        msg = (
            f"The .gitignore of {publication.repo_id} keeps {', '.join(ignored)} out, and a soft prompt is published whole or not at all. "
            "Nothing was published. Take the line out of .gitignore on its Hub page, then publish again."
        )
        raise HubError(msg)


def _check_it_is_there(api: HfApi, publication: Publication, commit: str, revision: str) -> None:
    """Compare what the commit holds with the plan."""
    from huggingface_hub import RepoFile

    paths = [file.path for file in publication.files]
    entries = api.get_paths_info(publication.repo_id, paths, revision=revision)
    there = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    differing = []
    for file in publication.files:
        entry = there.get(file.path)
        differing += [] if (entry is None if file.state == "removed" else entry is not None and holds(entry, file.content)) else [file.path]
    if differing:
        msg = (
            f"{publication.repo_id}@{commit} was published, but {', '.join(differing)} is not there as it was shown. "
            "Look at its files on the Hub, then publish again."
        )
        raise HubError(msg)


def _asking(publication: Publication) -> AbstractContextManager[None]:
    return in_plain_words(publication.repo_id, publication.branch, ASKING, "publish to", name=publication.repo_id)


@contextmanager
def _conflict(message: str) -> Iterator[None]:
    """What the Hub calls a conflict, in words that say which."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        if error.response.status_code not in _CONFLICTS:
            raise
        raise PublishConflictError(message) from error


__all__ = ["Published", "publish"]
