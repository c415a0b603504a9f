"""Rules reach what is loaded already, and a trace says at which commit, where nobody has to be asked for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from langchain_softprompt import ChatSoftPrompt, SoftPromptLLM
from langchain_softprompt.calls.shelf import SHELF, Shelf
from langchain_softprompt.errors import InvalidSettingsError, LockFileError, UntrustedSoftPromptError
from langchain_softprompt.hub import HubPolicy, fetch_soft_prompt, set_policy
from langchain_softprompt.hub.lock import LockedSoftPrompt, SoftPromptLock
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.refs import SoftPromptRef
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import FakeEngine
from tests.hub import LoopbackHub
from tests.unit_tests.hub.shared import soft_prompt_files

pytest_plugins = ("tests.hub.fixtures",)
NAME = "acme/router"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    PINS.forget()
    SHELF._kept.clear()
    set_policy(HubPolicy(scans="off"))
    yield
    set_policy(None)
    SHELF._kept.clear()
    PINS.forget()


def test_new_rules_reach_what_is_loaded_already(default_hub: LoopbackHub) -> None:
    commit = default_hub.add(NAME, {**soft_prompt_files(1), "model.pkl": b"code"})
    shelf = Shelf()
    loaded = shelf.get(NAME)
    set_policy(HubPolicy(scans="off", organisations=frozenset({"ours"})))
    with pytest.raises(UntrustedSoftPromptError, match="'acme' are not allowed here"):
        shelf.get(NAME)
    set_policy(HubPolicy(scans="require"))
    assert shelf.get(NAME) is loaded, "what the new rules let in is not read again"
    default_hub.set(NAME, flagged={"model.pkl": "unsafe"})
    asked = len(default_hub.requests)
    assert shelf.get(NAME) is loaded
    assert len(default_hub.requests) == asked, "and under the same rules nothing is asked again"
    set_policy(HubPolicy(scans="require", lock_file=None))
    with pytest.raises(UntrustedSoftPromptError, match="have flagged files"):
        shelf.get(NAME)
    set_policy(HubPolicy(scans="off"))
    default_hub.add(NAME, soft_prompt_files(2))
    assert (shelf.get(NAME), shelf.get(NAME).revision) == (loaded, commit), "nor do new rules move a pinned name on"


def test_rules_from_the_environment_reach_a_chain_that_runs(default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    default_hub.add(NAME, soft_prompt_files(1))
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(["yes"]), soft_prompt=NAME)
    set_policy(None)
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_SCANS", "off")
    assert llm.invoke("abc").text == "yes"
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_ORGANISATIONS", "ours")
    with pytest.raises(UntrustedSoftPromptError):
        llm.invoke("abc")


def test_scans_that_are_required_are_asked_for_each_time_one_is_loaded(default_hub: LoopbackHub) -> None:
    default_hub.add(NAME, {**soft_prompt_files(1), "model.pkl": b"code"})
    set_policy(HubPolicy(scans="require"))
    SoftPrompt.load(NAME)
    default_hub.set(NAME, flagged={"model.pkl": "unsafe"})
    with pytest.raises(UntrustedSoftPromptError):
        SoftPrompt.load(NAME)


class _Started(BaseCallbackHandler):
    """What a call's first event says."""

    def __init__(self) -> None:
        self.revisions: list[Any] = []

    def on_chat_model_start(self, *_: Any, **kwargs: Any) -> None:
        self.revisions.append(kwargs["metadata"].get("softprompt_revision"))

    def on_llm_start(self, *_: Any, **kwargs: Any) -> None:
        self.revisions.append(kwargs["metadata"].get("softprompt_revision"))


async def test_a_first_event_has_the_commit_where_the_name_or_an_earlier_use_tells_it(default_hub: LoopbackHub) -> None:
    commit = default_hub.add(NAME, soft_prompt_files(1))
    started = _Started()
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(["yes"]), callbacks=[started])
    asked = len(default_hub.requests)
    assert llm.with_soft_prompt(f"{NAME}@{commit}")._get_ls_params()["softprompt_revision"] == commit  # type: ignore[typeddict-item]
    assert llm.with_soft_prompt(NAME)._get_ls_params().get("softprompt_revision") is None
    assert len(default_hub.requests) == asked, "to say it costs no request"
    llm.with_soft_prompt(f"{NAME}@{commit}").invoke("abc")
    assert started.revisions.pop() == commit
    SHELF._kept.clear()
    await llm.with_soft_prompt(f"{NAME}@{commit}").ainvoke("abc")
    assert started.revisions.pop() == commit
    fetch_soft_prompt(SoftPromptRef.parse(NAME))
    for invoke in (llm.with_soft_prompt(NAME).invoke, SoftPromptLLM(model="fake", engine=FakeEngine(["yes"]), soft_prompt=NAME).invoke):
        SHELF._kept.clear()
        invoke("abc", {"callbacks": [started]})
        assert set(started.revisions) == {commit}


def test_a_first_event_has_the_commit_of_the_lock_file(default_hub: LoopbackHub) -> None:
    commit = default_hub.add(NAME, soft_prompt_files(1))
    folder, _ = fetch_soft_prompt(SoftPromptRef.parse(f"{NAME}@{commit}"))
    SoftPromptLock().with_entries({NAME: LockedSoftPrompt.of(folder, commit)}).write(Path("soft-prompts.lock"))
    default_hub.add(NAME, soft_prompt_files(2))
    started = _Started()
    answer = ChatSoftPrompt(model="fake", engine=FakeEngine(["yes"]), soft_prompt=NAME).invoke("abc", {"callbacks": [started]})
    assert started.revisions == [answer.response_metadata["soft_prompt_revision"]] == [commit]
    other = ChatSoftPrompt(model="fake", engine=FakeEngine(["yes"]), soft_prompt="acme/other")
    assert other._get_ls_params().get("softprompt_revision") is None, "what is refused is told by the call"
    with pytest.raises(LockFileError):
        other.invoke("abc")


def test_by_a_branch_nobody_has_asked_for_the_answer_says_the_commit_and_the_first_event_does_not(default_hub: LoopbackHub) -> None:
    """LangChain asks before the call does, and to know it would cost the Hub a request of its own."""
    commit = default_hub.add(NAME, soft_prompt_files(1))
    started = _Started()
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(["yes"]), soft_prompt=NAME)
    said = [llm.invoke("abc", {"callbacks": [started]}).response_metadata["soft_prompt_revision"] for _ in range(2)]
    assert (started.revisions, said) == ([None, commit], [commit, commit])


@pytest.mark.parametrize(
    "rules", [{"organisations": None}, {"organisations": 5}, {"organisations": {"a": 1}}, {"lock_file": ""}, {"lock_file": 5}]
)
def test_rules_of_another_form_are_refused_in_a_sentence(rules: Any) -> None:
    with pytest.raises(InvalidSettingsError, match=next(iter(rules))):
        HubPolicy(**rules)


def test_what_is_no_policy_is_refused_before_it_holds() -> None:
    with pytest.raises(InvalidSettingsError, match="HubPolicy"):
        set_policy("require")  # type: ignore[arg-type]


def test_a_lock_file_in_the_home_folder_is_the_same_for_reading_and_writing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert HubPolicy(lock_file=Path("~/app.lock")).lock_file == tmp_path / "app.lock"


def test_a_lock_file_that_is_a_pipe_is_refused_and_not_read_without_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LockFileError, match="no file"):
        SoftPromptLock.read(tmp_path / "pipe")
