"""Publishing that goes wrong halfway: what was published is whole, what was made for nothing goes again, or is said to remain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from langchain_softprompt.errors import (
    HubAccessError,
    HubError,
    HubUnreachableError,
    InvalidReferenceError,
    InvalidSettingsError,
    PublishConflictError,
    SoftPromptError,
)
from langchain_softprompt.hub import publishing
from langchain_softprompt.hub.publication import Publication, plan_publication
from langchain_softprompt.hub.publishing import publish
from langchain_softprompt.refs import SoftPromptRef
from tests.hub import TOKEN, LoopbackHub

pytest_plugins = ("tests.hub.fixtures",)
NAME = "tester/router"
FILES = {
    "README.md": b"---\nlicense: mit\n---\n# Router\n",
    "adapter_config.json": b'{\n "a": 1\n}',
    "adapter_model.safetensors": b"\0" * 3000,
}
MORE = {**FILES, "soft_prompt.json": b"{}"}


@pytest.fixture(autouse=True)
def _logged_in(monkeypatch: pytest.MonkeyPatch, hub_cache: object) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def branches(hub: LoopbackHub) -> list[str]:
    return [ref.removeprefix("refs/heads/") for ref in hub.git(NAME).refs()]


# What is published is whole.


@pytest.mark.parametrize(
    ("rule", "kept_out"),
    [("*.safetensors", "adapter_model.safetensors"), ("*.json", "adapter_config.json"), ("*", None)],
)
def test_a_file_that_the_repository_s_gitignore_keeps_out_is_told_and_nothing_is_published(
    default_hub: LoopbackHub, rule: str, kept_out: str | None
) -> None:
    before = default_hub.add(NAME, {".gitignore": f"# rules\n{rule}\n".encode()})
    with pytest.raises(HubError, match=rf"The \.gitignore of {NAME} keeps {kept_out or ''}.* out.*Nothing was published"):
        publish(plan_publication(NAME, MORE), "First")
    assert default_hub.head(NAME) == before
    with pytest.raises(HubError, match="keeps"):
        publish(plan_publication(NAME, MORE, branch="dev"), "First")
    assert branches(default_hub) == ["main"]
    default_hub.add(NAME, {".gitignore": b"*.log\n"})
    publish(plan_publication(NAME, MORE), "Second")
    assert set(MORE) < set(default_hub.files(NAME))


def test_a_commit_that_does_not_hold_what_was_shown_is_told(default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a client or a Hub leave something out in another way: here the client is made to pass over a file."""
    default_hub.add(NAME, {".gitignore": b"*.safetensors\n"})
    monkeypatch.setattr(publishing, "_check_nothing_is_left_out", lambda *_, **__: None)
    with pytest.raises(HubError, match=rf"{NAME}@[0-9a-f]{{40}} was published, but adapter_model\.safetensors is not there"):
        publish(plan_publication(NAME, FILES), "First")


# What was made for nothing goes again.


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda hub: hub.fail("POST */commit/*", status=403), HubAccessError),
        (lambda hub: hub.fail("POST */commit/*", status=412), PublishConflictError),
        (lambda hub: hub.fail("POST */preupload/*", status=400), HubError),
    ],
    ids=["forbidden", "moved", "refused"],
)
@pytest.mark.parametrize("private", [False, True])
def test_a_new_repository_goes_again_where_its_commit_fails_and_the_same_command_works_then(
    default_hub: LoopbackHub, spoil: Callable[[LoopbackHub], None], error: type[SoftPromptError], private: bool
) -> None:
    spoil(default_hub)
    with pytest.raises(error) as caught:
        publish(plan_publication(NAME, FILES), "First", private=private)
    assert NAME not in default_hub.store.repositories
    assert "None" not in str(caught.value)
    default_hub.heal()
    made = publish(plan_publication(NAME, FILES), "First", private=private)
    assert default_hub.head(NAME) == made.commit
    assert default_hub.store.repositories[NAME].standing.private is private


def test_a_new_branch_goes_again_where_its_commit_fails(default_hub: LoopbackHub) -> None:
    publish(plan_publication(NAME, FILES), "First")
    default_hub.fail("POST */commit/*", status=403)
    with pytest.raises(HubAccessError):
        publish(plan_publication(NAME, MORE, branch="dev"), "Second")
    assert branches(default_hub) == ["main"]
    default_hub.heal()
    publish(plan_publication(NAME, MORE, branch="dev"), "Second")
    assert branches(default_hub) == ["dev", "main"]


def test_what_somebody_built_on_in_the_meantime_stays(default_hub: LoopbackHub) -> None:
    def build_on_it() -> None:
        default_hub.add(NAME, {"README.md": b"# theirs"})

    default_hub.before("POST */commit/*", build_on_it)
    default_hub.fail("POST */commit/*", status=403)
    with pytest.raises(HubAccessError, match=f"The repository {NAME} was made for it and remains"):
        publish(plan_publication(NAME, FILES), "First")
    assert default_hub.files(NAME)["README.md"] == b"# theirs"


@pytest.mark.parametrize("private", [False, True])
def test_what_can_t_be_taken_back_is_said_to_remain_and_the_same_command_goes_on_from_there(
    default_hub: LoopbackHub, private: bool
) -> None:
    default_hub.fail("POST */commit/*", status=403)
    default_hub.fail("DELETE *", status=403)
    with pytest.raises(HubAccessError, match="was made for it and remains; the same command goes on from there"):
        publish(plan_publication(NAME, FILES), "First", private=private)
    assert NAME in default_hub.store.repositories
    default_hub.heal()
    publish(plan_publication(NAME, FILES), "First", private=private)
    assert set(FILES) < set(default_hub.files(NAME))


def test_who_interrupts_it_leaves_nothing_behind(default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting:
        """Stands in for a key that is pressed while the commit is sent."""

        def __call__(self, *_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

    plan = plan_publication(NAME, FILES)
    monkeypatch.setattr("huggingface_hub.HfApi.create_commit", Interrupting())
    with pytest.raises(KeyboardInterrupt):
        publish(plan, "First")
    assert NAME not in default_hub.store.repositories


def test_a_hub_that_goes_away_halfway_is_told_as_that_with_what_remains(default_hub: LoopbackHub) -> None:
    default_hub.before("POST */commit/*", lambda: default_hub.fail("*", status=503))
    default_hub.fail("POST */commit/*", status=503)
    with pytest.raises(HubUnreachableError, match=f"The repository {NAME} was made for it and remains"):
        publish(plan_publication(NAME, FILES), "First")


# Names.


@pytest.mark.parametrize(
    "name", ["main#x", "x#y", "0" * 40, "ab" * 20, "refs/pr/1", "refs/heads/main", "HEAD", "a b", "x.lock", "a//b", ""]
)
def test_a_name_that_would_be_read_as_something_else_is_no_branch_and_no_tag(default_hub: LoopbackHub, name: str) -> None:
    publish(plan_publication(NAME, FILES), "First")
    before, asked = default_hub.git(NAME).refs(), len(default_hub.requests)
    with pytest.raises(InvalidReferenceError):
        plan_publication(NAME, MORE, branch=name)
    assert len(default_hub.requests) == asked
    plan = plan_publication(NAME, MORE)
    with pytest.raises(InvalidReferenceError):
        publish(plan, "Second", tag=name)
    assert default_hub.git(NAME).refs() == before


def test_a_tag_is_named_as_no_branch_and_a_branch_as_no_tag(default_hub: LoopbackHub) -> None:
    publish(plan_publication(NAME, FILES), "First", tag="v1")
    publish(plan_publication(NAME, FILES, branch="dev"), "Nothing changes, but for a tag", tag="v2")
    default_hub.add(NAME, {"notes.txt": b"x"}, branch="dev")
    with pytest.raises(InvalidSettingsError, match="'main' is the branch"):
        publish(plan_publication(NAME, MORE), "Second", tag="main")
    with pytest.raises(PublishConflictError, match="has a branch 'dev' already"):
        publish(plan_publication(NAME, MORE), "Second", tag="dev")
    with pytest.raises(InvalidReferenceError, match="'v1' is a tag of"):
        plan_publication(NAME, MORE, branch="v1")


def test_a_branch_that_somebody_made_in_between_is_a_conflict(default_hub: LoopbackHub) -> None:
    publish(plan_publication(NAME, FILES), "First")
    plan = plan_publication(NAME, MORE, branch="dev")
    theirs = default_hub.add(NAME, {"README.md": b"# theirs"}, branch="dev")
    with pytest.raises(PublishConflictError, match="has a branch 'dev' by now"):
        publish(plan, "Second")
    assert default_hub.head(NAME, "dev") == theirs


@pytest.mark.parametrize("name", ["v1+cpu", "_old", "2024-01,rc=1", "feature/x+y"])
def test_what_git_allows_in_a_tag_is_published_and_found(default_hub: LoopbackHub, name: str) -> None:
    made = publish(plan_publication(NAME, FILES), "First", tag=name)
    ref = SoftPromptRef.parse(f"{NAME}@{name}")
    assert ref.revision == name
    assert default_hub.git(NAME).refs()[f"refs/tags/{name}"] == made.commit


def test_a_public_repository_is_not_made_private_in_passing_and_a_private_one_may_be_named_so(default_hub: LoopbackHub) -> None:
    publish(plan_publication(NAME, FILES), "First", private=True)
    assert plan_publication(NAME, FILES).private
    publish(plan_publication(NAME, MORE), "Second", private=True)
    default_hub.set(NAME, private=False)
    with pytest.raises(InvalidSettingsError, match="is there already, and stays public"):
        publish(plan_publication(NAME, FILES), "Third", private=True)


def test_a_plan_for_a_commit_that_is_gone_names_what_was_asked_for(default_hub: LoopbackHub) -> None:
    publish(plan_publication(NAME, FILES), "First")
    plan = plan_publication(NAME, MORE)
    gone = Publication(plan.repo_id, "gone", plan.head, plan.files)
    with pytest.raises(SoftPromptError, match="no branch, tag or commit 'gone'"):
        publish(gone, "Second")
