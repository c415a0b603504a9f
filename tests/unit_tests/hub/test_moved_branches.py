"""A branch that moves on to what can't be had takes nothing with it: what was fetched before is found, listed and taken out as before."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, scan_cache_dir

from langchain_softprompt.errors import LockFileError, SoftPromptError
from langchain_softprompt.hub import HubPolicy, fetch_model, fetch_soft_prompt, set_policy
from langchain_softprompt.hub.cached import cached_soft_prompts, remove_cached
from langchain_softprompt.hub.lock import LockedSoftPrompt, SoftPromptLock
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.refs import SoftPromptRef
from tests.hub import LoopbackHub
from tests.unit_tests.hub.shared import in_new_process, soft_prompt_files

pytest_plugins = ("tests.hub.fixtures",)
NAME = "acme/router"
TOO_LARGE = {**soft_prompt_files(2), "soft_prompt.json": b" " * (5 << 20)}


@pytest.fixture
def first(default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The commit that was fetched by its branch."""
    monkeypatch.chdir(tmp_path)
    PINS.forget()
    set_policy(HubPolicy(scans="off"))
    commit = default_hub.add(NAME, soft_prompt_files(1))
    assert fetch()[1] == commit
    PINS.forget()
    yield commit
    set_policy(None)
    PINS.forget()


def fetch(name: str = NAME) -> tuple[Path, str | None]:
    return fetch_soft_prompt(SoftPromptRef.parse(name))


def offline(monkeypatch: pytest.MonkeyPatch) -> str | None:
    """What the branch leads to for a process that begins without a network."""
    PINS.forget()
    with monkeypatch.context() as here:
        here.setattr(constants, "HF_HUB_OFFLINE", True)
        return fetch()[1]


def too_large(hub: LoopbackHub) -> None:
    hub.add(NAME, TOO_LARGE)


def refused(hub: LoopbackHub) -> None:
    hub.add(NAME, soft_prompt_files(2))
    hub.fail("*/resolve/*", status=403)


def broken(hub: LoopbackHub) -> None:
    hub.offers_xet = False
    hub.add(NAME, soft_prompt_files(2))
    hub.corrupt("GET */resolve/*")


def flagged(hub: LoopbackHub) -> None:
    hub.add(NAME, {**soft_prompt_files(2), "model.pkl": b"code"})
    hub.set(NAME, flagged={"model.pkl": "unsafe"})
    set_policy(HubPolicy(scans="require"))


@pytest.mark.parametrize("spoil", [too_large, refused, broken, flagged])
def test_a_branch_whose_new_commit_is_not_accepted_works_offline_as_before(
    default_hub: LoopbackHub, first: str, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[LoopbackHub], None]
) -> None:
    spoil(default_hub)
    with pytest.raises(SoftPromptError):
        fetch()
    set_policy(HubPolicy(scans="off"))
    assert offline(monkeypatch) == first
    assert (str(first), ("main",)) in [(str(one.ref.revision), one.branches) for one in cached_soft_prompts()]
    assert not scan_cache_dir().warnings
    remove_cached(SoftPromptRef.parse(f"{NAME}@{first}"))
    assert first not in [one.ref.revision for one in cached_soft_prompts()]


def test_a_new_commit_that_the_lock_file_refuses_leaves_the_branch_where_it_was(
    default_hub: LoopbackHub, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = default_hub.add(NAME, soft_prompt_files(2))
    entry = LockedSoftPrompt.of(fetch(f"{NAME}@{first}")[0], second)
    SoftPromptLock().with_entries({f"{NAME}@main": entry}).write(Path("soft-prompts.lock"))
    with pytest.raises(LockFileError):
        fetch(f"{NAME}@main")
    Path("soft-prompts.lock").unlink()
    assert offline(monkeypatch) == first


def test_once_the_new_commit_is_accepted_the_branch_leads_to_it_offline(
    default_hub: LoopbackHub, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = default_hub.add(NAME, soft_prompt_files(2))
    assert fetch()[1] == second != first
    assert offline(monkeypatch) == second


@pytest.mark.parametrize("moment", ["*/paths-info/*", "GET */resolve/*.safetensors", "HEAD */resolve/*/soft_prompt.json"])
def test_a_process_killed_while_it_fetches_the_new_commit_leaves_the_branch_at_the_old_one(
    default_hub: LoopbackHub, hub_cache: Path, first: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    default_hub.offers_xet = False
    default_hub.add(NAME, soft_prompt_files(2))
    code = (
        "import os\nfrom langchain_softprompt.refs import SoftPromptRef\nfrom langchain_softprompt.hub import fetch_soft_prompt\n"
        f"open('pid', 'w').write(str(os.getpid())); fetch_soft_prompt(SoftPromptRef.parse({NAME!r}))"
    )
    done: list[Any] = []
    with default_hub.hold(moment) as hold:
        thread = threading.Thread(
            target=lambda: done.append(in_new_process(code, hub_cache, default_hub.url, LANGCHAIN_SOFTPROMPT_SCANS="off"))
        )
        thread.start()
        hold.wait_until_reached(60)
        os.kill(int(Path("pid").read_text()), signal.SIGKILL)
        thread.join()
    assert done[0].returncode == -signal.SIGKILL
    assert offline(monkeypatch) == first
    assert not scan_cache_dir().warnings
    PINS.forget()
    assert fetch()[1] == default_hub.head(NAME) != first


def test_a_process_that_began_before_the_branch_moved_never_turns_it_back(
    default_hub: LoopbackHub, hub_cache: Path, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch()[1] == first
    second = default_hub.add(NAME, soft_prompt_files(2))
    code = f"from langchain_softprompt.soft_prompt import SoftPrompt; print(SoftPrompt.load({NAME!r}).revision)"
    told = in_new_process(code, hub_cache, default_hub.url, LANGCHAIN_SOFTPROMPT_SCANS="off")
    assert told.stdout.strip() == second, told.stderr
    assert fetch()[1] == first
    assert offline(monkeypatch) == second


@pytest.mark.parametrize("part", [{"config_only": True}, {"weights": False}])
def test_a_look_at_a_part_of_a_moved_model_leaves_the_whole_one_usable_offline(
    default_hub: LoopbackHub, first: str, monkeypatch: pytest.MonkeyPatch, part: dict[str, bool]
) -> None:
    old = default_hub.add("acme/model", {"config.json": b"{}", "model.safetensors": b"w"})
    assert fetch_model("acme/model")[1] == old
    PINS.forget()
    new = default_hub.add("acme/model", {"config.json": b'{"a": 1}'})
    assert fetch_model("acme/model", **part)[1] == new
    PINS.forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder, found = fetch_model("acme/model")
    assert (found, (folder / "model.safetensors").read_bytes()) == (old, b"w")


def test_a_cache_that_can_t_be_written_to_is_no_hindrance(default_hub: LoopbackHub, first: str, hub_cache: Path) -> None:
    second = default_hub.add(NAME, soft_prompt_files(2))
    (refs,) = hub_cache.glob("models--*/refs")
    (refs / "main").unlink()
    refs.rmdir()
    refs.write_text("a file where a folder belongs")
    assert fetch()[1] == second
    assert refs.read_text() == "a file where a folder belongs"


def test_what_answers_for_the_hub_and_names_no_commit_is_not_believed(default_hub: LoopbackHub, first: str, hub_cache: Path) -> None:
    (ref,) = hub_cache.glob("models--*/refs/main")
    ref.write_text("../../somewhere")
    default_hub.down()
    with pytest.raises(SoftPromptError, match="not in the local cache"):
        fetch()


def test_a_repository_that_the_client_s_scan_passes_over_is_listed_and_taken_out(
    default_hub: LoopbackHub, first: str, hub_cache: Path
) -> None:
    """Another tool was killed between a branch and its files, or a file was lost."""
    second = default_hub.add(NAME, soft_prompt_files(2))
    fetch()
    (repository,) = hub_cache.glob("models--*")
    (repository / "refs" / "dev").write_text("ab" * 20)
    (repository / "snapshots" / second / "soft_prompt.json").resolve().unlink()
    assert scan_cache_dir().warnings
    found = cached_soft_prompts()
    assert {one.ref.revision for one in found} == {first, second}
    for one in found:
        assert "dev leads to a commit that is not here" in one.damage
        assert "a file of it is missing" in one.damage
    going, freed = remove_cached(SoftPromptRef.parse(f"{NAME}@{second}"))
    assert [one.ref.revision for one in going] == [second]
    assert freed > 0
    assert [(one.ref.revision, one.damage) for one in cached_soft_prompts()] == [(first, "dev leads to a commit that is not here")]
    remove_cached(SoftPromptRef.parse(NAME))
    assert not repository.exists()
