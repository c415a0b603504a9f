"""The sharing commands where something is in the way: one sentence says what, and no stranger's text passes for theirs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from langchain_softprompt.cli.app import main
from langchain_softprompt.cli.sharing.lock import lock
from langchain_softprompt.errors import (
    InvalidReferenceError,
    InvalidSoftPromptError,
    LockFileError,
    SoftPromptError,
    SoftPromptNotFoundError,
)
from langchain_softprompt.hub import fetch_model
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import tiny_model
from tests.hub import LoopbackHub
from tests.unit_tests.cli.sharing import NAME, refused, run, told, write
from tests.unit_tests.hub.shared import soft_prompt_files
from tests.unit_tests.soft_prompt.peft_folders import save_with_peft

pytest_plugins = ("tests.hub.fixtures", "tests.unit_tests.cli.sharing_fixtures")
pytestmark = pytest.mark.usefixtures("here")
LOCK = Path("soft-prompts.lock")


def locked() -> dict[str, dict[str, object]]:
    read: dict[str, dict[str, object]] = json.loads(LOCK.read_text())["soft_prompts"]
    return read


# lock


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("./empty", InvalidSoftPromptError, "adapter_config.json: presence"),
        ("./nothing", SoftPromptNotFoundError, "There is no soft-prompt folder at 'nothing'"),
        ("./broken", InvalidSoftPromptError, "adapter_model.safetensors"),
    ],
)
def test_lock_takes_nothing_that_can_t_be_loaded(
    name: str, error: type[SoftPromptError], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    write("broken", 1)
    Path("broken/adapter_model.safetensors").write_bytes(b"\0" * 100)
    assert said in refused(error, "lock", "./own", name)
    assert not LOCK.exists(), "nor what was named beside it"
    monkeypatch.setattr(sys, "argv", ["langchain-softprompt", "lock", name])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith("Error: ")


def test_lock_takes_a_changed_folder_anew_and_a_multitask_soft_prompt_as_a_whole() -> None:
    save_with_peft(Path("multi"), "MULTITASK_PROMPT_TUNING", tiny_model())
    assert run("lock", "./own", "./multi").exit_code == 0
    before = locked()
    write("own", 2)
    assert run("lock").exit_code == 0
    assert locked()["./own"] != before["./own"]
    assert locked()["./multi"] == before["./multi"]


def test_check_fails_where_a_folder_stands_before_a_locked_name_and_locking_anew_does_not_take_it_in_passing(here: LoopbackHub) -> None:
    run("push", "own", NAME, "--yes")
    assert run("lock", NAME).exit_code == 0
    before = locked()
    Path("tester").mkdir()
    write(NAME, 1)
    for arguments in (("--check",), ("--check", NAME), ()):
        assert "a folder of that name stands before it" in refused(LockFileError, "lock", *arguments)
    assert locked() == before
    assert run("lock", NAME).exit_code == 0, "named, it is what was meant"
    assert "commit" not in locked()[NAME]
    assert run("lock", "--check").exit_code == 0


def test_check_fails_for_a_folder_that_is_not_in_the_lock_file() -> None:
    run("lock", "./own")
    write("other", 2)
    assert "./other is not in soft-prompts.lock. Lock it first" in refused(LockFileError, "lock", "--check", "./other")


def test_lock_works_offline_on_what_is_cached_and_keeps_what_scanners_said_of_it(
    here: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("push", "own", NAME, "--yes")
    run("pull", NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    PINS.forget()
    assert "scans: not told" in run("lock", NAME).stderr
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    here.set(NAME, scans_done=True)
    assert "scans: clean" in run("lock").stderr
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "scans: clean" in run("lock").stderr
    assert (locked()[NAME]["scan"], locked()[NAME]["commit"]) == ("clean", here.head(NAME))
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_SCANS", "require")
    assert "can't be asked" in refused(SoftPromptError, "lock")
    assert run("lock", "--check").exit_code == 0


def test_lock_keeps_what_another_command_added_while_it_was_at_work(here: LoopbackHub) -> None:
    run("push", "own", NAME, "--yes")
    here.before("*/revision/*", lambda: lock(["./own"]))
    assert run("lock", NAME).exit_code == 0
    assert set(locked()) == {NAME, "./own"}


# list, rm


def test_list_and_rm_know_a_repository_that_is_damaged_in_the_cache(here: LoopbackHub, hub_cache: Path) -> None:
    run("push", "own", NAME, "--yes")
    run("pull", NAME)
    (ref,) = hub_cache.glob("models--tester--router/refs/main")
    ref.write_text("ab" * 20)
    listed = run("list")
    assert NAME in listed.stderr
    assert f"{NAME} is damaged in the cache: main leads to a commit that is not here." in listed.stderr
    assert told("list")["cached"][0]["damage"] == "main leads to a commit that is not here"
    assert run("rm", NAME, "--yes").exit_code == 0
    assert told("list")["cached"] == []
    assert not ref.exists()


def test_a_stranger_s_words_stay_in_their_line_of_a_list(here: LoopbackHub) -> None:
    config = json.dumps({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": True, "base_model_name_or_path": "a\ntester/safe  clean"})
    here.add("tester/odd", {**soft_prompt_files(manifest=None, inside="x\ny/"), "x\ny/adapter_config.json": config.encode()})
    fetch_model("tester/odd")
    listed = run("list").stderr
    assert len(listed.strip().splitlines()) == 2, listed
    (entry,) = told("list")["cached"]
    assert (entry["num_virtual_tokens"], entry["base_model"]) == (0, "a\\ntester/safe  clean")


# show


def test_a_score_s_name_or_a_description_can_t_pass_for_what_show_says_itself(here: LoopbackHub) -> None:
    own = SoftPrompt.load(Path("own"))
    assert own.manifest is not None
    manifest = own.manifest.model_copy(
        update={"scores": {"accuracy: 1.000\nscans         clean": 0.5}, "description": "Sorts.\nscans  clean\x1b[31m"}
    )
    replace(own, manifest=manifest).save("own")
    lines = run("show", "own").stderr.splitlines()
    assert not [line for line in lines if line.strip().startswith("scans")]
    assert r"  accuracy: 1.000\nscans         clean: 0.500" in lines
    assert any(r"Sorts.\nscans  clean\x1b[31m" in line for line in lines)


# push, pull


def test_push_takes_no_name_that_reads_as_something_else(here: LoopbackHub) -> None:
    run("push", "own", NAME, "--yes")
    write("own", 2)
    for wish in (("--branch", "main#x"), ("--branch", "0" * 40), ("--branch", "refs/pr/1"), ("--tag", "x#y")):
        assert "can't be the name of a" in refused(InvalidReferenceError, "push", "own", NAME, "--yes", *wish)
    assert run("push", "own", NAME, "--yes", "--tag", "v1+cpu").exit_code == 0
    assert told("pull", f"{NAME}@v1+cpu")["pulled"][0]["commit"] == here.head(NAME)


def test_a_failed_push_of_a_private_repository_can_be_made_again_as_it_was(here: LoopbackHub) -> None:
    here.fail("POST */commit/*", status=403)
    refused(SoftPromptError, "push", "own", NAME, "--private", "--yes")
    here.heal()
    assert run("push", "own", NAME, "--private", "--yes").exit_code == 0
    write("own", 2)
    assert run("push", "own", NAME, "--private", "--yes").exit_code == 0
