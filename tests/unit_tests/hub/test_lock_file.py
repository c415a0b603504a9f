"""The lock file: what it names is compared wherever it is found, what can't be read is told, and nobody's entry is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from langchain_softprompt.calls.shelf import Shelf
from langchain_softprompt.errors import InvalidSettingsError, LockFileError, SoftPromptNotFoundError
from langchain_softprompt.hub import HubPolicy, fetch_soft_prompt, lock, set_policy
from langchain_softprompt.hub.lock import LockedSoftPrompt, SoftPromptLock
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.refs import SoftPromptRef
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.hub import LoopbackHub
from tests.unit_tests.hub.shared import in_new_process, soft_prompt_files

pytest_plugins = ("tests.hub.fixtures",)
NAME = "acme/router"
FILE = Path("soft-prompts.lock")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    PINS.forget()
    set_policy(HubPolicy(scans="off"))
    yield
    set_policy(None)
    PINS.forget()


def fetch(name: str = NAME) -> tuple[Path, str | None]:
    return fetch_soft_prompt(SoftPromptRef.parse(name))


def folder(name: str, seed: int) -> Path:
    Path(name).mkdir(parents=True, exist_ok=True)
    for file, content in soft_prompt_files(seed).items():
        (Path(name) / file).write_bytes(content or b"")
    return Path(name)


def locked(**entries: LockedSoftPrompt) -> None:
    SoftPromptLock().with_entries(entries).write(FILE)


def test_a_folder_that_stands_before_a_locked_name_is_refused_whatever_is_in_it(default_hub: LoopbackHub) -> None:
    commit = default_hub.add(NAME, soft_prompt_files(1))
    locked(**{NAME: LockedSoftPrompt.of(fetch()[0], commit, "clean")})
    shelf = Shelf()
    assert shelf.get(NAME).revision == commit
    for seed in (1, 2):
        folder(NAME, seed)
        for load in (fetch, SoftPrompt.load, shelf.get):
            with pytest.raises(LockFileError, match=f"one on the Hub in {FILE}, and a folder of that name stands before it"):
                load(NAME)
    set_policy(HubPolicy(scans="require", organisations=frozenset({"ours"})))
    with pytest.raises(LockFileError, match="a folder of that name stands before it"):
        fetch()
    folder(f"{NAME}@{commit}", 2)
    with pytest.raises(LockFileError, match="a folder of that name stands before it"):
        fetch(f"{NAME}@{commit}")


def test_a_folder_that_was_locked_under_a_hub_s_name_is_checked_and_never_fetched_in_its_place(default_hub: LoopbackHub) -> None:
    default_hub.add(NAME, soft_prompt_files(1))
    locked(**{NAME: LockedSoftPrompt.of(folder(NAME, 1), None)})
    assert fetch() == (Path(NAME), None)
    folder(NAME, 2)
    with pytest.raises(LockFileError, match=r"adapter_model\.safetensors"):
        fetch()
    Path(NAME).rename("elsewhere")
    with pytest.raises(LockFileError, match="no folder of that name is here"):
        fetch()
    assert not default_hub.requests


def test_a_folder_in_a_locked_folder_is_another_one(tmp_path: Path) -> None:
    locked(**{"./own": LockedSoftPrompt.of(folder("own", 1), None)})
    folder("own/other", 2)
    folder("own/best", 3)
    assert fetch("./own/other") == (Path("own/other"), None)
    assert fetch("./own/best") == (Path("own/best"), None)
    SoftPromptLock.add(FILE, {"./own/other": LockedSoftPrompt.of(Path("own/other"), None)})
    assert fetch("./own/other") == (Path("own/other"), None)
    folder("own/other", 4)
    with pytest.raises(LockFileError, match="own/other"):
        fetch(str(tmp_path / "own" / "other"))


def test_the_folder_of_a_run_stands_for_its_best_under_either_name() -> None:
    locked(**{"./run": LockedSoftPrompt.of(folder("run/best", 1), None)})
    assert fetch("./run") == fetch("./run/best") == (Path("run/best"), None)
    folder("run/best", 2)
    for name in ("./run", "./run/best"):
        with pytest.raises(LockFileError, match=r"adapter_model\.safetensors"):
            fetch(name)


@pytest.mark.parametrize("name", ["not a ref", "~nobody-of-this-name/x", "acme/x@", "./\0", "\x1b[31m"])
def test_a_name_that_can_t_be_read_is_told_with_the_file_and_the_entry(name: str) -> None:
    FILE.write_text(json.dumps({"soft_prompts": {name: {"files": {"adapter_config.json": "0" * 64}}}}))
    folder("own", 1)
    for asked in ("./own", NAME):
        with pytest.raises(LockFileError) as caught:
            fetch(asked)
        assert str(caught.value).startswith(f"{FILE}: soft_prompts: the entry {name!r}: ")
        assert "\x1b" not in str(caught.value)


def test_a_folder_has_no_commit_and_an_empty_one_can_t_be_locked() -> None:
    FILE.write_text(json.dumps({"soft_prompts": {"./own": {"commit": "0" * 40, "files": {"adapter_config.json": "0" * 64}}}}))
    with pytest.raises(LockFileError, match="a folder has no commit"):
        fetch("./own")
    Path("empty").mkdir()
    for name in ("empty", "nothing"):
        with pytest.raises(SoftPromptNotFoundError, match=f"no soft prompt in '{name}' to lock"):
            LockedSoftPrompt.of(Path(name), None)


def test_a_lock_file_may_be_named_by_text_and_nothing_else_than_a_path() -> None:
    assert HubPolicy(lock_file="x.lock") == HubPolicy(lock_file=Path("x.lock"))  # type: ignore[arg-type]
    for given in ({"lock_file": 3}, {"organisations": {3}}):
        with pytest.raises(InvalidSettingsError, match=next(iter(given))):
            HubPolicy(**given)  # type: ignore[arg-type]


def test_processes_that_lock_at_once_lose_no_entry(hub_cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from langchain_softprompt.hub.lock import LockedSoftPrompt, SoftPromptLock\n"
        "entry = LockedSoftPrompt(files={'adapter_config.json': '0' * 64})\n"
        "for number in range(20): SoftPromptLock.add(Path('soft-prompts.lock'), {f'./NAME-{number}': entry})"
    )
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda name: in_new_process(code.replace("NAME", name), hub_cache), "abcd"))
    assert [one.stderr for one in done] == [""] * 4
    assert set(json.loads(FILE.read_text())["soft_prompts"]) == {f"./{name}-{number}" for name in "abcd" for number in range(20)}
    assert [file.name for file in Path().iterdir() if "lock" in file.name] == [FILE.name], "and nothing is left beside it"


def test_who_waits_too_long_for_another_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_PATIENCE", 0.1)
    with ThreadPoolExecutor(1) as another, lock._alone(FILE), pytest.raises(LockFileError, match="is being written by another process"):
        another.submit(SoftPromptLock.add, FILE, {}).result()
    SoftPromptLock.add(FILE, {})
    assert FILE.is_file()


def test_a_link_to_the_lock_file_stays_one() -> None:
    real = Path("versioned/app.lock")
    real.parent.mkdir()
    SoftPromptLock().write(real)
    FILE.symlink_to(real)
    SoftPromptLock.add(FILE, {"./own": LockedSoftPrompt.of(folder("own", 1), None)})
    assert FILE.is_symlink()
    assert "./own" in json.loads(real.read_text())["soft_prompts"]
