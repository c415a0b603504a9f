"""``pull``, ``list``, ``rm``, ``search``, ``show``, ``lock`` and ``push``: a soft prompt goes to the Hub and comes back elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from langchain_softprompt.errors import (
    InvalidReferenceError,
    InvalidSettingsError,
    LockFileError,
    PublishConflictError,
    SoftPromptError,
    SoftPromptNotFoundError,
)
from langchain_softprompt.hub import fetch_model
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.soft_prompt import SoftPrompt, TemplateMessage
from langchain_softprompt.testing import save_tiny_model, tiny_model
from tests.hub import LoopbackHub
from tests.unit_tests.cli.sharing import NAME, refused, run, told, write
from tests.unit_tests.hub.shared import soft_prompt_files
from tests.unit_tests.soft_prompt.peft_folders import save_with_peft

pytest_plugins = ("tests.hub.fixtures", "tests.unit_tests.cli.sharing_fixtures")


pytestmark = pytest.mark.usefixtures("here")


def test_push_shows_files_and_card_asks_and_publishes_what_pull_brings_elsewhere(here: LoopbackHub) -> None:
    no = run("push", "own", NAME, answer="n\n")
    assert no.exit_code == 1
    assert "a new repository" in no.stderr
    for shown in (
        "adapter_config.json",
        "adapter_model.safetensors",
        "soft_prompt.json",
        "README.md",
        "library_name: peft",
        "Sorts letters.",
    ):
        assert shown in no.stderr
    assert NAME not in here.store.repositories
    yes = run("push", "own", NAME, "--tag", "v1", answer="y\n")
    assert yes.exit_code == 0, yes.output
    commit = here.head(NAME)
    assert f"Pinned: {NAME}@{commit}" in yes.stderr
    (pulled,) = told("pull", f"{NAME}@v1", "--output", "copy")["pulled"]
    assert (pulled["commit"], pulled["pin"]) == (commit, f"{NAME}@{commit}")
    assert SoftPrompt.load(Path("copy")).content_hash == SoftPrompt.load(Path("own")).content_hash
    assert {file.name for file in Path("copy").iterdir()} == set(soft_prompt_files())


def test_a_second_push_shows_the_diff_and_the_same_push_says_that_there_is_nothing_to_do(here: LoopbackHub) -> None:
    assert run("push", "own", NAME, "--yes").exit_code == 0
    first = here.head(NAME)
    again = run("push", "own", NAME)
    assert again.exit_code == 0
    assert f"holds exactly this already, at commit {first}" in again.stderr
    write("own", 2)
    dry = run("push", "own", NAME, "--dry-run")
    assert (dry.exit_code, here.head(NAME)) == (0, first)
    assert "~ adapter_model.safetensors" in dry.stderr
    assert "= adapter_config.json" in dry.stderr
    assert '-  "tensors_sha256"' in dry.stderr
    assert told("push", "own", NAME, "--yes")["pushed"]["pin"] == f"{NAME}@{here.head(NAME)}"


def test_a_repository_that_moves_on_while_one_is_asked_is_a_conflict(here: LoopbackHub) -> None:
    run("push", "own", NAME, "--yes")
    write("own", 2)
    here.before("*/commit/*", lambda: here.add(NAME, {"README.md": b"# theirs"}))
    assert "Look at the changes again" in refused(PublishConflictError, "push", "own", NAME, "--yes")
    assert here.files(NAME)["README.md"] == b"# theirs"


def test_only_the_soft_prompt_s_own_files_get_out(here: LoopbackHub) -> None:
    for name in (".env", "train.jsonl", "adapter_model.bin", "notes.md"):
        (Path("own") / name).write_text("secret")
    run("push", "own", NAME, "--yes")
    assert {*here.files(NAME)} - {".gitattributes"} == {*soft_prompt_files(), "README.md"}


def test_nothing_that_is_published_tells_of_a_folder_of_this_machine(here: LoopbackHub, tmp_path: Path) -> None:
    own = SoftPrompt.load(Path("own"))
    assert own.manifest is not None
    assert own.manifest.data is not None
    hidden = str(tmp_path / "secret" / "rows.jsonl")
    manifest = own.manifest.model_copy(
        update={
            "base_model": own.manifest.base_model.model_copy(update={"id": str(tmp_path / "secret-model"), "revision": None}),
            "data": own.manifest.data.model_copy(update={"source": hidden}),
            "training": {"start": hidden, "steps_done": 3},
        }
    )
    config = own.config.model_copy(update={"base_model_name_or_path": str(tmp_path / "secret-model")})
    replace(own, config=config, manifest=manifest).save("own")
    assert "base_model='org/name'" in refused(InvalidSettingsError, "push", "own", NAME, "--yes")
    assert run("push", "own", NAME, "--yes", "--base-model", f"acme/tiny@{'ef' * 20}").exit_code == 0
    for name, content in here.files(NAME).items():
        assert b"secret" not in content, name
    (pulled,) = told("pull", NAME)["pulled"]
    found = SoftPrompt.load(Path(pulled["folder"]))
    assert found.manifest is not None
    assert (found.manifest.base_model.id, found.manifest.base_model.revision) == ("acme/tiny", "ef" * 20)
    assert (found.config.base_model_name_or_path, found.config.revision) == ("acme/tiny", "ef" * 20)
    assert found.manifest.base_model.fingerprint == own.manifest.base_model.fingerprint
    assert found.content_hash == own.content_hash


def test_a_card_of_ones_own_is_taken_as_it_is(here: LoopbackHub) -> None:
    Path("mine.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    run("push", "own", NAME, "--yes", "--card", "mine.md")
    assert here.files(NAME)["README.md"] == b"---\nlicense: mit\n---\n# Mine\n"
    assert "can't be read" in refused(InvalidSettingsError, "push", "own", NAME, "--card", "none.md")
    Path("e.json").write_text("{}")
    assert "Leave out" in refused(InvalidSettingsError, "push", "own", NAME, "--card", "mine.md", "--evaluation", "e.json")
    Path("e.json").write_text("[]")
    assert "evaluate --json" in refused(SoftPromptError, "push", "own", NAME, "--evaluation", "e.json")


def test_only_a_folder_of_this_machine_is_pushed(here: LoopbackHub) -> None:
    """A mistyped path reads like a name on the Hub."""
    run("push", "own", NAME, "--yes")
    assert "There is no folder" in refused(SoftPromptNotFoundError, "push", NAME, "tester/copy", "--yes")
    assert "can't be read" in _with_card("---\na: [\n---\n# Mine\n")
    assert "tester/copy" not in here.store.repositories
    assert isinstance(run("show", "~nosuchuser/x").exception, SoftPromptError)


def _with_card(text: str) -> str:
    Path("bad.md").write_text(text)
    return refused(InvalidSettingsError, "push", "own", "tester/copy", "--card", "bad.md", "--yes")


def test_a_multitask_soft_prompt_is_shared_as_a_whole(here: LoopbackHub) -> None:
    save_with_peft(Path("multi"), "MULTITASK_PROMPT_TUNING", tiny_model())
    assert run("push", "multi", "tester/multi", "--yes", "--base-model", f"acme/tiny@{'ef' * 20}").exit_code == 0
    (pulled,) = told("pull", "tester/multi")["pulled"]
    assert pulled["kind"] == "MULTITASK_PROMPT_TUNING"
    assert SoftPrompt.load("tester/multi", task=1).content_hash == SoftPrompt.load(Path("multi"), task=1).content_hash


def test_a_stranger_s_half_characters_and_turned_lines_reach_no_terminal(here: LoopbackHub) -> None:
    config = json.loads(Path("own/adapter_config.json").read_text())
    config["base_model_name_or_path"] = "ab\ud800\u202e" + "x" * 5000
    files = {**soft_prompt_files(manifest=None), "adapter_config.json": json.dumps(config).encode()}
    here.add("tester/odd", files)
    fetch_model("tester/odd")
    listed = run("list")
    assert listed.exit_code == 0, repr(listed.exception)
    assert "\u202e" not in listed.stderr
    (entry,) = told("list")["cached"]
    assert len(entry["base_model"]) == 200


def test_list_shows_what_was_pulled_and_rm_asks_before_it_takes_it_out(here: LoopbackHub) -> None:
    assert "holds no such soft prompts" in run("list").stderr
    run("push", "own", NAME, "--yes")
    run("pull", NAME)
    listed = run("list").stderr
    for shown in (NAME, here.head(NAME)[:12], "main", "PREFIX_TUNING", "acme/tiny"):
        assert shown in listed
    assert told("list", "--base-model", "TINY")["cached"][0]["description"] == "Sorts letters."
    assert told("list", "--base-model", "llama")["cached"] == []
    assert run("rm", NAME, answer="n\n").exit_code == 1
    assert told("list")["cached"]
    assert run("rm", NAME, "--yes").exit_code == 0
    assert told("list")["cached"] == []
    assert "langchain-softprompt list" in refused(SoftPromptError, "rm", NAME, "--yes")
    assert "your own folders are not in it" in refused(InvalidReferenceError, "rm", "./own")


def test_search_says_what_fits_the_model_at_hand(here: LoopbackHub, tmp_path: Path) -> None:
    run("push", "own", NAME, "--yes", "--base-model", "acme/tiny")
    model = save_tiny_model(tmp_path / "model")
    result = run("search", "router", "--model", str(model))
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert NAME in result.stderr
    assert "its sizes fit" in result.stderr
    (found,) = told("search", "--base-model", "acme/tiny")["found"]
    assert (found["repo_id"], found["misfit"]) == (NAME, None)
    assert "no such soft prompts" in run("search", "nothing").stderr


def test_show_tells_what_a_folder_or_a_hub_soft_prompt_is_and_what_scanners_say(here: LoopbackHub) -> None:
    assert "Sorts letters." in run("show", "own").stderr
    run("push", "own", NAME, "--yes")
    here.set(NAME, scans_done=True)
    shown = told("show", NAME, "--scans")
    assert (shown["commit"], shown["scans"], shown["licence"]) == (here.head(NAME), "clean", "CC0")
    assert shown["manifest"]["base_model"]["id"] == "acme/tiny"
    (Path("own") / "soft_prompt.json").unlink()
    assert "plain PEFT folder" in run("show", "own").stderr


def test_a_template_can_t_pass_for_what_show_says_itself(here: LoopbackHub) -> None:
    own = SoftPrompt.load(Path("own"))
    assert own.manifest is not None
    fake = TemplateMessage(role="system", template="Hi\n\nScores:\n  accuracy: 0.999")
    replace(own, manifest=own.manifest.model_copy(update={"hard_prompt": [fake]})).save("own")
    lines = run("show", "own").stderr.splitlines()
    assert "  system | Hi" in lines
    assert "Scores:" not in lines


def test_lock_pins_an_application_check_notices_and_locking_again_moves_on(here: LoopbackHub) -> None:
    run("push", "own", NAME, "--yes")
    first = here.head(NAME)
    assert run("lock", NAME, "./own").exit_code == 0
    locked = json.loads(Path("soft-prompts.lock").read_text())
    assert locked["soft_prompts"][NAME]["commit"] == first
    assert set(locked["soft_prompts"]["./own"]["files"]) == set(soft_prompt_files())
    write("other", 2)
    run("push", "other", NAME, "--yes")
    PINS.forget()
    assert told("pull", NAME)["pulled"][0]["commit"] == first, "the lock holds"
    assert "All as locked" in run("lock", "--check").stderr
    write("own", 3)
    assert "./own" in refused(LockFileError, "lock", "--check")
    assert "is not in soft-prompts.lock" in refused(LockFileError, "pull", "tester/other")
    PINS.forget()
    assert run("lock").exit_code == 0
    assert json.loads(Path("soft-prompts.lock").read_text())["soft_prompts"][NAME]["commit"] == here.head(NAME) != first
    assert run("lock", "--check").exit_code == 0


def test_lock_without_names_and_without_a_file_says_what_to_do() -> None:
    assert "Name the soft prompts to lock" in refused(LockFileError, "lock")
    assert "Name the soft prompts to lock" in refused(LockFileError, "lock", "--check")


def test_pull_takes_one_output_for_one_soft_prompt_and_overwrites_nothing() -> None:
    assert "one folder for 2" in refused(InvalidSettingsError, "pull", "a/b", "c/d", "--output", "x")
    assert "is there already" in refused(InvalidSettingsError, "pull", "a/b", "--output", "own")
