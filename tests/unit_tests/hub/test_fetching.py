"""Fetching from a Hub: pinned, only what is wanted, checked before and after; whatever goes wrong is told, and the cache stays whole."""

from __future__ import annotations

import json
import os
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from langchain_softprompt.calls.shelf import Shelf
from langchain_softprompt.errors import (
    HubAccessError,
    HubRateLimitError,
    HubUnreachableError,
    InvalidSoftPromptError,
    LockFileError,
    SoftPromptError,
    SoftPromptNotFoundError,
    UnsafeFileError,
    UntrustedSoftPromptError,
)
from langchain_softprompt.hub import HubPolicy, UntrustedSoftPromptWarning, fetch_model, fetch_soft_prompt, set_policy
from langchain_softprompt.hub.cached import remove_cached
from langchain_softprompt.hub.lock import LockedSoftPrompt, SoftPromptLock
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.refs import SoftPromptRef
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.hub import TOKEN, LoopbackHub
from tests.unit_tests.hub.shared import in_new_process, soft_prompt_files

pytest_plugins = ("tests.hub.fixtures",)
NAME = "acme/router"
RESOLVE = "*/resolve/*"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """No pins, no rules, no lock file of another test."""
    monkeypatch.chdir(tmp_path)
    PINS.forget()
    set_policy(HubPolicy(scans="off"))
    yield
    set_policy(None)
    PINS.forget()


def fetch(name: str = NAME) -> tuple[Path, str | None]:
    return fetch_soft_prompt(SoftPromptRef.parse(name))


def names_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


# Use.


def test_a_name_a_branch_a_tag_a_commit_and_a_subfolder_each_lead_to_their_own_files(default_hub: LoopbackHub) -> None:
    first = default_hub.add(NAME, soft_prompt_files(1))
    second = default_hub.add(NAME, soft_prompt_files(2), branch="v2")
    inside = default_hub.add(NAME, soft_prompt_files(3, inside="moods/english/"))
    for name, commit, seed in (
        (f"{NAME}@{first}", first, 1),
        (f"{NAME}@v2", second, 2),
        (NAME, inside, 1),
        (f"{NAME}@main#moods/english", inside, 3),
    ):
        folder, found = fetch(name)
        assert found == commit
        wanted = soft_prompt_files(seed)
        assert {file: (folder / file).read_bytes() for file in wanted} == wanted
        assert SoftPrompt.load(name).revision == commit


def test_only_the_three_files_are_fetched(default_hub: LoopbackHub) -> None:
    extra = {"README.md": b"# hi", "adapter_model.bin": b"pickle", "evil.py": b"print()", "optimizer.pt": b"x"}
    default_hub.add(NAME, {**soft_prompt_files(), **extra})
    folder, _ = fetch()
    assert names_in(folder) == set(soft_prompt_files())
    assert not [request for request in default_hub.requests if any(name in request for name in extra)]


def test_a_moved_branch_never_changes_a_running_chain(default_hub: LoopbackHub) -> None:
    first = default_hub.add(NAME, soft_prompt_files(1))
    assert fetch()[1] == first
    default_hub.add(NAME, soft_prompt_files(2))
    asked = len(default_hub.requests)
    assert fetch()[1] == first
    assert len(default_hub.requests) == asked, "and nothing is asked again"
    PINS.forget()
    assert fetch()[1] == default_hub.head(NAME) != first, "another process sees the new one"


@pytest.mark.parametrize("manifest", ["with", "without"])
def test_what_was_fetched_needs_no_request_by_commit_and_works_offline_by_branch(
    default_hub: LoopbackHub, hub_cache: Path, manifest: str
) -> None:
    files = soft_prompt_files() if manifest == "with" else soft_prompt_files(manifest=None)
    commit = default_hub.add(NAME, files)
    folder, _ = fetch()
    asked = len(default_hub.requests)
    assert fetch(f"{NAME}@{commit}") == (folder, commit)
    assert len(default_hub.requests) == asked
    code = f"from langchain_softprompt.soft_prompt import SoftPrompt; print(SoftPrompt.load({NAME!r}).revision)"
    told = in_new_process(code, hub_cache, HF_HUB_OFFLINE="1")
    assert told.stdout.strip() == commit, told.stderr
    assert "Error" not in told.stderr


@pytest.mark.skipif(not hasattr(huggingface_hub, "get_cached_repo_tree"), reason="clients before 2.0 keep no list of files")
def test_a_plain_peft_repository_that_another_tool_fetched_works_offline_too(
    default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = default_hub.add(NAME, soft_prompt_files(manifest=None))
    huggingface_hub.snapshot_download(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch()[1] == commit


def test_threads_that_ask_at_once_ask_the_hub_once_for_the_commit(default_hub: LoopbackHub) -> None:
    commit = default_hub.add(NAME, soft_prompt_files())
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(fetch())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one[1] for one in found] == [commit] * 8
    assert default_hub.requests.count(f"GET /api/models/{NAME}/revision/main") == 1


def test_a_model_is_fetched_at_its_commit_and_its_configuration_alone_where_that_is_all_that_is_asked(default_hub: LoopbackHub) -> None:
    commit = default_hub.add("acme/model", {"config.json": b"{}", "model.safetensors": b"w", "model.bin": b"x", "code.py": b"x"})
    folder, found = fetch_model("acme/model", config_only=True)
    assert (found, names_in(folder)) == (commit, {"config.json"})
    commit = default_hub.add("acme/model", {"tokenizer.json": b"{}"})
    folder, found = fetch_model("acme/model", revision=commit, weights=False)
    assert (found, names_in(folder)) == (commit, {"config.json", "tokenizer.json"})
    folder, found = fetch_model("acme/model", revision=commit)
    assert (found, names_in(folder)) == (commit, {"config.json", "model.safetensors", "tokenizer.json"})


# Whatever goes wrong has its own error, with the next step, and a second try works.


def _gated(hub: LoopbackHub) -> None:
    hub.set(NAME, gated="manual")


@pytest.mark.parametrize(
    ("spoil", "error", "told"),
    [
        (lambda hub: hub.set(NAME, gated="manual"), HubAccessError, "is gated. Ask for access on its Hub page"),
        (lambda hub: hub.set(NAME, private=True), SoftPromptNotFoundError, "or it is private. Check the spelling, or log in"),
        (lambda hub: hub.set(NAME, disabled=True), HubAccessError, "was disabled"),
        (lambda hub: hub.fail("*", status=429, headers={"Retry-After": "0"}), HubRateLimitError, "asked too often"),
        (lambda hub: hub.down(), HubUnreachableError, "the Hub can't be reached. Go online once"),
        (lambda hub: hub.fail("*", status=403), HubAccessError, "does not let you"),
    ],
    ids=["gated", "private", "disabled", "rate-limited", "down", "forbidden"],
)
def test_each_refusal_is_its_own_error_with_the_next_step_and_leaves_the_cache_ready_for_a_second_try(
    default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[LoopbackHub], Any], error: type[Exception], told: str
) -> None:
    commit = default_hub.add(NAME, soft_prompt_files())
    spoil(default_hub)
    with pytest.raises(error, match=told):
        fetch()
    default_hub.heal()
    default_hub.set(NAME, gated=False, private=False, disabled=False)
    if not default_hub._listener:
        default_hub.up()
    assert fetch()[1] == commit


def test_a_hub_in_trouble_once_is_told_as_that_and_the_next_try_works(default_hub: LoopbackHub) -> None:
    commit = default_hub.add(NAME, soft_prompt_files())
    default_hub.fail("*/revision/*", status=503, times=1)
    with pytest.raises(HubUnreachableError, match=r"the Hub is in trouble\. Try again later"):
        fetch()
    assert fetch()[1] == commit
    default_hub.fail("*/revision/*", status=503, times=1)
    PINS.forget()
    assert fetch()[1] == commit, "what is in the cache is found all the same"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("acme/nobody", "no repository 'acme/nobody'"),
        (f"{NAME}@v9", "no branch, tag or commit 'v9'"),
        (f"{NAME}@{'0' * 40}", f"no branch, tag or commit '{'0' * 40}'"),
        (f"{NAME}#nowhere", "no soft prompt in the folder 'nowhere'"),
        ("acme/empty", "no soft prompt at its top"),
        ("acme/half", "has no adapter_model.safetensors"),
    ],
)
def test_what_is_missing_is_named(default_hub: LoopbackHub, name: str, told: str) -> None:
    default_hub.add(NAME, soft_prompt_files())
    default_hub.add("acme/empty", {"README.md": b"# nothing"})
    default_hub.add("acme/half", {"adapter_config.json": b"{}"})
    with pytest.raises(SoftPromptNotFoundError, match=told):
        fetch(name)


def test_pickled_weights_are_refused_by_name_and_not_fetched(default_hub: LoopbackHub) -> None:
    default_hub.add(NAME, {"adapter_config.json": b"{}", "adapter_model.bin": b"pickle"})
    with pytest.raises(UnsafeFileError, match=r"adapter_model\.bin.*never fetched"):
        fetch()
    assert not [request for request in default_hub.requests if "/resolve/" in request]


def test_a_file_larger_than_any_soft_prompt_s_is_refused_before_it_is_fetched(default_hub: LoopbackHub) -> None:
    default_hub.add(NAME, {**soft_prompt_files(), "soft_prompt.json": b" " * (5 << 20)})
    with pytest.raises(InvalidSoftPromptError, match=r"soft_prompt\.json.*at most 4194304 bytes.*5242880"):
        fetch()
    assert not [request for request in default_hub.requests if "/resolve/" in request]


def test_other_bytes_than_were_published_are_noticed_and_leave_the_cache(default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    default_hub.offers_xet = False
    commit = default_hub.add(NAME, soft_prompt_files())
    default_hub.corrupt(f"GET {RESOLVE}.safetensors")
    default_hub.corrupt("GET */objects/*")
    default_hub.corrupt("GET */large/*")
    with pytest.raises(InvalidSoftPromptError, match=r"adapter_model\.safetensors.*hash.*fetch it again"):
        fetch()
    default_hub.heal()
    assert fetch()[1] == commit


def test_a_cached_file_that_was_damaged_later_is_noticed_and_fetched_anew_by_the_second_try(default_hub: LoopbackHub) -> None:
    default_hub.add(NAME, soft_prompt_files())
    folder, _ = fetch()
    blob = (folder / "adapter_model.safetensors").resolve()
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(InvalidSoftPromptError, match="fetch it again"):
        fetch()
    assert fetch()[0] == folder
    assert (folder / "adapter_model.safetensors").read_bytes() == soft_prompt_files()["adapter_model.safetensors"]


def test_all_that_was_damaged_leaves_the_cache_at_once(default_hub: LoopbackHub) -> None:
    default_hub.offers_xet = False
    commit = default_hub.add(NAME, soft_prompt_files())
    default_hub.corrupt(f"GET {RESOLVE}")
    default_hub.corrupt("GET */large/*")
    with pytest.raises(InvalidSoftPromptError, match="fetch it again"):
        fetch()
    default_hub.heal()
    assert fetch()[1] == commit


def test_a_running_chain_outlives_a_cache_that_is_changed_or_emptied(default_hub: LoopbackHub) -> None:
    commit = default_hub.add(NAME, soft_prompt_files(1))
    shelf = Shelf()
    first = shelf.get(NAME)
    folder, _ = fetch()
    for name, content in soft_prompt_files(2).items():
        blob = (folder / name).resolve()
        blob.chmod(0o644)
        blob.write_bytes(content or b"")
    assert shelf.get(NAME) is first
    remove_cached(SoftPromptRef.parse(NAME))
    assert shelf.get(NAME) is first
    assert Shelf().get(NAME).content_hash == first.content_hash, "another one fetches the same commit again"
    assert first.revision == commit


def test_a_body_cut_short_is_gone_on_with_or_told(default_hub: LoopbackHub) -> None:
    commit = default_hub.add(NAME, soft_prompt_files())
    default_hub.cut(f"GET {RESOLVE}adapter_config.json", 10)
    try:
        assert fetch()[1] == commit
    except SoftPromptError:
        assert fetch()[1] == commit


def test_a_branch_that_moves_between_its_commit_and_its_files_gives_the_files_of_that_commit(default_hub: LoopbackHub) -> None:
    first = default_hub.add(NAME, soft_prompt_files(1))
    default_hub.before("*/paths-info/*", lambda: default_hub.add(NAME, soft_prompt_files(2)))
    folder, commit = fetch()
    assert (commit, default_hub.head(NAME) != first) == (first, True)
    assert (folder / "adapter_model.safetensors").read_bytes() == soft_prompt_files(1)["adapter_model.safetensors"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../blobs/x", "adapter_config.json"])
def test_a_link_in_a_repository_is_read_as_the_text_that_git_keeps_and_refused(default_hub: LoopbackHub, target: str) -> None:
    default_hub.add(NAME, soft_prompt_files())
    default_hub.plant_link(NAME, "soft_prompt.json", target)
    with pytest.raises(SoftPromptError):
        SoftPrompt.load(NAME)


def test_a_token_is_in_no_error(default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    default_hub.add(NAME, soft_prompt_files())
    default_hub.fail("*", status=418, message=f"Bearer {TOKEN} was refused at http://x/?X-Amz-Signature=abc")
    with pytest.raises(SoftPromptError) as caught:
        fetch()
    error: BaseException | None = caught.value
    while error is not None:
        assert TOKEN not in f"{error} {getattr(error, '__notes__', '')}"
        assert "abc" not in str(error) or error is not caught.value
        error = error.__cause__


# Two at once, and one that dies.


def test_processes_that_pull_at_once_all_get_it(default_hub: LoopbackHub, hub_cache: Path) -> None:
    commit = default_hub.add(NAME, soft_prompt_files())
    code = (
        "from langchain_softprompt.hub import fetch_soft_prompt; from langchain_softprompt.refs import SoftPromptRef\n"
        f"print(fetch_soft_prompt(SoftPromptRef.parse({NAME!r}))[1])"
    )
    told: list[Any] = []
    threads = [
        threading.Thread(target=lambda: told.append(in_new_process(code, hub_cache, default_hub.url, LANGCHAIN_SOFTPROMPT_SCANS="off")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(one.stdout.strip(), one.returncode) for one in told] == [(commit, 0)] * 4, [one.stderr for one in told]


@pytest.mark.parametrize("moment", ["GET */resolve/*.safetensors", "HEAD */resolve/*/soft_prompt.json"])
def test_a_process_killed_while_it_fetches_leaves_a_cache_that_the_next_one_completes(
    default_hub: LoopbackHub, hub_cache: Path, moment: str
) -> None:
    default_hub.offers_xet = False
    commit = default_hub.add(NAME, soft_prompt_files())
    code = (
        f"import os; print(os.getpid(), flush=True)\n"
        f"from langchain_softprompt.refs import SoftPromptRef\nfrom langchain_softprompt.hub import fetch_soft_prompt\n"
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
    folder, found = fetch()
    assert found == commit
    assert {name: (folder / name).read_bytes() for name in soft_prompt_files()} == soft_prompt_files()


# Trust.


def test_scans_are_told_in_three_states_once_and_required_where_that_is_the_rule(default_hub: LoopbackHub) -> None:
    for name, standing in (
        ("acme/clean", {"scans_done": True}),
        ("acme/new", {"scans_done": False}),
        ("acme/bad", {"scans_done": True, "flagged": {"model.pkl": "unsafe"}}),
    ):
        default_hub.add(name, {**soft_prompt_files(), "model.pkl": b"code"})
        default_hub.set(name, **standing)
    set_policy(HubPolicy(scans="warn"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch("acme/clean")
    with pytest.warns(UntrustedSoftPromptWarning, match="have not looked at all of it yet"):
        fetch("acme/new")
    with pytest.warns(UntrustedSoftPromptWarning, match=r"flagged files of its repository \(model\.pkl \(unsafe\)\)"):
        fetch("acme/bad")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch("acme/bad")  # it was told
    set_policy(HubPolicy(scans="require"))
    fetch("acme/clean")
    for name in ("acme/new", "acme/bad"):
        with pytest.raises(UntrustedSoftPromptError, match="Only clean ones are allowed here"):
            fetch(name)


def test_an_organisation_that_is_not_on_the_list_is_refused_before_anything_is_asked(
    default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_hub.add(NAME, soft_prompt_files())
    set_policy(None)
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_ORGANISATIONS", "ours, friends")
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_SCANS", "off")
    with pytest.raises(UntrustedSoftPromptError, match="'acme' are not allowed here, only those of: friends, ours"):
        fetch()
    assert not default_hub.requests
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_ORGANISATIONS", "Acme")
    assert fetch()[1] == default_hub.head(NAME)


# The lock file.


def test_a_lock_file_pins_and_checks_and_lets_nothing_else_in(default_hub: LoopbackHub, tmp_path: Path) -> None:
    first = default_hub.add(NAME, soft_prompt_files(1))
    folder, _ = fetch()
    lock_file = tmp_path / "soft-prompts.lock"
    SoftPromptLock().with_entries({NAME: LockedSoftPrompt.of(folder, first, "clean")}).write(lock_file)
    default_hub.add(NAME, soft_prompt_files(2))
    PINS.forget()
    assert fetch()[1] == first, "the branch has moved, the lock has not"
    with pytest.raises(LockFileError, match=f"{NAME}@main is not in soft-prompts.lock.*langchain-softprompt lock {NAME}@main"):
        fetch(f"{NAME}@main")
    told = json.loads(lock_file.read_text())
    told["soft_prompts"][NAME]["files"]["adapter_config.json"] = "0" * 64
    lock_file.write_text(json.dumps(told))
    with pytest.raises(LockFileError, match=r"adapter_config\.json in .* is not what soft-prompts\.lock holds"):
        fetch()
    for broken in ("{", '{"version": 2}', '{"soft_prompts": {"a/b": {"files": {"evil.py": "00"}}}}', "[]", '{"more": 1}'):
        lock_file.write_text(broken)
        with pytest.raises(LockFileError, match="Mend it, or remove it and make it anew"):
            fetch()


def test_a_lock_file_that_was_named_must_be_there_and_a_pinned_commit_in_it_is_let_in(
    default_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = default_hub.add(NAME, soft_prompt_files(1))
    folder, _ = fetch()
    set_policy(None)
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_SCANS", "off")
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_LOCK_FILE", str(tmp_path / "app.lock"))
    with pytest.raises(LockFileError, match="is not there"):
        fetch()
    SoftPromptLock().with_entries({NAME: LockedSoftPrompt.of(folder, commit)}).write(tmp_path / "app.lock")
    assert fetch() == fetch(f"{NAME}@{commit}") == (folder, commit)
    monkeypatch.delenv("LANGCHAIN_SOFTPROMPT_LOCK_FILE")
    Path("soft-prompts.lock").symlink_to("nowhere")
    with pytest.raises(LockFileError, match="link to a file that is not there"):
        fetch()


def test_required_scans_are_asked_for_again_where_the_hub_can_tell(default_hub: LoopbackHub, tmp_path: Path) -> None:
    commit = default_hub.add(NAME, {**soft_prompt_files(), "model.pkl": b"code"})
    folder, _ = fetch()
    SoftPromptLock().with_entries({NAME: LockedSoftPrompt.of(folder, commit, "clean")}).write(tmp_path / "soft-prompts.lock")
    set_policy(HubPolicy(scans="require"))
    assert fetch()[1] == commit
    default_hub.set(NAME, flagged={"model.pkl": "unsafe"})
    with pytest.raises(UntrustedSoftPromptError, match="have flagged files"):
        fetch()
    default_hub.fail("*/revision/*", status=501)
    Path("soft-prompts.lock").unlink()
    with pytest.raises(UntrustedSoftPromptError, match="can't be asked"):
        fetch(f"{NAME}@{commit}")


def test_with_a_clean_scan_in_the_lock_file_required_scans_work_offline(default_hub: LoopbackHub, tmp_path: Path) -> None:
    commit = default_hub.add(NAME, soft_prompt_files())
    folder, _ = fetch()
    SoftPromptLock().with_entries({NAME: LockedSoftPrompt.of(folder, commit, "clean")}).write(tmp_path / "soft-prompts.lock")
    default_hub.down()
    set_policy(HubPolicy(scans="require"))
    assert fetch()[1] == commit


def test_a_folder_is_checked_where_the_lock_file_names_it_and_free_where_not(tmp_path: Path) -> None:
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
        for file, content in soft_prompt_files().items():
            (tmp_path / name / file).write_bytes(content or b"")
    SoftPromptLock().with_entries({"./own": LockedSoftPrompt.of(tmp_path / "own", None)}).write(tmp_path / "soft-prompts.lock")
    assert fetch("./own") == (Path("own"), None)
    assert fetch("./other") == (Path("other"), None)
    (tmp_path / "own" / "soft_prompt.json").unlink()
    for name in ("./own", f"./../{tmp_path.name}/own", str(tmp_path / "own")):
        with pytest.raises(LockFileError, match=r"soft_prompt\.json"):
            fetch(name)
