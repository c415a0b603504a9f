"""Publishing: what changes is shown, one commit on top of what was shown, and nothing half-published."""

from __future__ import annotations

import pytest

from langchain_softprompt.errors import (
    HubAccessError,
    HubError,
    HubUnreachableError,
    InvalidReferenceError,
    InvalidSettingsError,
    PublishConflictError,
)
from langchain_softprompt.hub.publication import plan_publication
from langchain_softprompt.hub.publishing import publish
from tests.hub import TOKEN, LoopbackHub

pytest_plugins = ("tests.hub.fixtures",)
NAME = "tester/router"
FILES = {
    "README.md": b"---\nlicense: mit\n---\n# Router\n",
    "adapter_config.json": b'{\n "a": 1\n}',
    "adapter_model.safetensors": b"\0" * 3000,
}


@pytest.fixture(autouse=True)
def _logged_in(monkeypatch: pytest.MonkeyPatch, hub_cache: object) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def test_a_new_repository_gets_all_files_in_one_commit(default_hub: LoopbackHub) -> None:
    plan = plan_publication(NAME, FILES)
    assert (plan.head, [file.state for file in plan.files]) == (None, ["new"] * 3)
    assert not [request for request in default_hub.requests if request.startswith("POST") and "paths-info" not in request]
    made = publish(plan, "First", tag="v1")
    assert made.pin == f"{NAME}@{default_hub.head(NAME)}"
    there = default_hub.files(NAME)
    assert {path: there[path] for path in FILES} == FILES
    assert default_hub.files(NAME, "v1") == there


def test_what_is_the_same_is_left_alone_and_what_changes_is_shown_as_a_diff(default_hub: LoopbackHub) -> None:
    publish(plan_publication(NAME, FILES), "First")
    plan = plan_publication(NAME, {**FILES, "adapter_config.json": b'{\n "a": 2\n}', "soft_prompt.json": b"{}"})
    assert {file.path: file.state for file in plan.files} == {
        "README.md": "same",
        "adapter_config.json": "changed",
        "adapter_model.safetensors": "same",
        "soft_prompt.json": "new",
    }
    changed = next(file for file in plan.files if file.state == "changed")
    assert [line for line in changed.diff if line[:2] in ("- ", "+ ")] == ['- "a": 1', '+ "a": 2']
    publish(plan, "Second")
    assert default_hub.files(NAME)["adapter_config.json"] == b'{\n "a": 2\n}'
    again = plan_publication(NAME, {**FILES, "adapter_config.json": b'{\n "a": 2\n}', "soft_prompt.json": b"{}"})
    assert not again.changes
    with pytest.raises(HubError, match="holds exactly these files already"):
        publish(again, "Third")


def test_a_head_that_moved_since_the_plan_is_a_conflict_and_nothing_is_published(default_hub: LoopbackHub) -> None:
    publish(plan_publication(NAME, FILES), "First")
    plan = plan_publication(NAME, {**FILES, "soft_prompt.json": b"{}"})
    other = default_hub.add(NAME, {"README.md": b"# Somebody else's\n"})
    with pytest.raises(PublishConflictError, match=r"has moved on since its changes were shown.*Nothing was published"):
        publish(plan, "Second")
    assert default_hub.head(NAME) == other
    assert "soft_prompt.json" not in default_hub.files(NAME)


def test_what_is_left_of_the_soft_prompt_that_was_there_goes_in_the_same_commit(default_hub: LoopbackHub) -> None:
    """A plain PEFT folder over one with a manifest: the old manifest would speak of the new numbers."""
    publish(plan_publication(NAME, {**FILES, "soft_prompt.json": b"{}"}), "First")
    default_hub.add(NAME, {"notes.txt": b"mine"})
    plan = plan_publication(NAME, {**FILES, "adapter_model.safetensors": b"\1" * 3000})
    assert [file.path for file in plan.files if file.state == "removed"] == ["soft_prompt.json"]
    publish(plan, "Second")
    there = default_hub.files(NAME)
    assert "soft_prompt.json" not in there
    assert there["notes.txt"] == b"mine"


def test_what_can_t_be_had_is_told_before_anything_is_published(default_hub: LoopbackHub) -> None:
    first = publish(plan_publication(NAME, FILES), "First", tag="v1")
    plan = plan_publication(NAME, {**FILES, "soft_prompt.json": b"{}"})
    for error, wish in (
        (PublishConflictError, {"tag": "v1"}),
        (InvalidReferenceError, {"tag": "a b"}),
        (InvalidSettingsError, {"tag": "v2", "pull_request": True}),
        (InvalidSettingsError, {"private": True}),
    ):
        with pytest.raises(error):
            publish(plan, "Second", **wish)  # type: ignore[arg-type]
    assert default_hub.head(NAME) == first.commit
    with pytest.raises(HubError, match="begins on main"):
        plan_publication("tester/new", FILES, branch="dev")
    assert "tester/new" not in default_hub.store.repositories


def test_a_tag_that_fails_after_all_says_that_the_commit_is_published(default_hub: LoopbackHub) -> None:
    default_hub.fail("*/tag/*", status=403)
    with pytest.raises(HubError, match=rf"but published {NAME}@[0-9a-f]{{40}}"):
        publish(plan_publication(NAME, FILES), "First", tag="v1")


def test_where_nothing_changes_a_tag_is_set_on_what_is_there(default_hub: LoopbackHub) -> None:
    first = publish(plan_publication(NAME, FILES), "First")
    assert publish(plan_publication(NAME, FILES), "Again", tag="v1").commit == first.commit
    assert default_hub.files(NAME, "v1") == default_hub.files(NAME)


def test_a_branch_that_is_not_there_is_made_from_main(default_hub: LoopbackHub) -> None:
    first = publish(plan_publication(NAME, FILES), "First")
    made = publish(plan_publication(NAME, {**FILES, "soft_prompt.json": b"{}"}, branch="dev"), "Second")
    assert default_hub.head(NAME) == first.commit
    assert default_hub.head(NAME, "dev") == made.commit


def test_a_repository_made_in_between_is_a_conflict(default_hub: LoopbackHub) -> None:
    plan = plan_publication(NAME, FILES)
    other = default_hub.add(NAME, {"README.md": b"# Somebody else's\n"})
    with pytest.raises(PublishConflictError, match="is there by now"):
        publish(plan, "First")
    assert default_hub.head(NAME) == other


def test_a_commit_that_fails_publishes_nothing(default_hub: LoopbackHub) -> None:
    publish(plan_publication(NAME, FILES), "First")
    before = default_hub.head(NAME)
    default_hub.fail("*/commit/*", status=403)
    with pytest.raises(HubAccessError, match="publish to"):
        publish(plan_publication(NAME, {**FILES, "soft_prompt.json": b"{}"}), "Second")
    assert default_hub.head(NAME) == before


def test_a_pull_request_changes_no_branch(default_hub: LoopbackHub) -> None:
    publish(plan_publication(NAME, FILES), "First")
    before = default_hub.head(NAME)
    made = publish(plan_publication(NAME, {**FILES, "soft_prompt.json": b"{}"}), "Second", pull_request=True)
    assert default_hub.head(NAME) == before
    assert "discussions" in made.url


def test_a_private_repository_is_made_where_asked_for(default_hub: LoopbackHub) -> None:
    publish(plan_publication(NAME, FILES), "First", private=True)
    assert default_hub.store.repositories[NAME].standing.private


def test_without_a_token_and_out_of_reach_are_typed_errors(default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_publication(NAME, FILES)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="hf auth login"):
        publish(plan, "First")
    default_hub.down()
    with pytest.raises(HubUnreachableError):
        plan_publication(NAME, FILES)


@pytest.mark.parametrize("name", ["router", "a/b/c", "./folder", "tester/rou ter"])
def test_what_is_no_repository_s_name_is_refused_before_anything_is_asked(default_hub: LoopbackHub, name: str) -> None:
    with pytest.raises(InvalidReferenceError):
        plan_publication(name, FILES)
    assert not default_hub.requests
