"""Where a soft prompt comes from: loaded at first use, once, and again when its folder has changed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from langchain_softprompt import hub
from langchain_softprompt.calls.shelf import Shelf
from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.errors import SoftPromptNotFoundError
from langchain_softprompt.refs import SoftPromptRef
from langchain_softprompt.testing import FakeEngine, tiny_soft_prompt
from tests.unit_tests.chat.conftest import QUESTION


def test_folder_is_loaded_once(prompt_folder: Path) -> None:
    shelf = Shelf()
    first = shelf.get(str(prompt_folder))
    assert shelf.get(str(prompt_folder)) is first
    assert first.source == str(prompt_folder)


def test_threads_that_ask_at_once_share_one_load(prompt_folder: Path) -> None:
    shelf = Shelf()
    with ThreadPoolExecutor(8) as pool:
        assert len({id(soft_prompt) for soft_prompt in pool.map(shelf.get, [prompt_folder] * 8)}) == 1


def test_changed_folder_is_read_again(prompt_folder: Path) -> None:
    shelf = Shelf()
    first = shelf.get(prompt_folder)
    tiny_soft_prompt(2).save(prompt_folder)
    os.utime(prompt_folder / hub.SOFT_PROMPT_FILES[1], ns=(1, 1))  # whatever the clock's resolution
    assert shelf.get(prompt_folder).content_hash != first.content_hash


def test_missing_folder_raises_and_is_found_once_it_is_there(tmp_path: Path) -> None:
    shelf, folder = Shelf(), tmp_path / "later"
    with pytest.raises(SoftPromptNotFoundError):
        shelf.get(folder)
    tiny_soft_prompt(1).save(folder)
    assert shelf.get(folder).num_virtual_tokens == 4


def test_relative_name_follows_the_working_folder(tmp_path: Path) -> None:
    shelf = Shelf()
    for seed, name in ((1, "here"), (2, "there")):
        tiny_soft_prompt(seed).save(tmp_path / name / "mood")
    hashes = []
    for name in ("here", "there"):
        os.chdir(tmp_path / name)
        hashes.append(shelf.get("./mood").content_hash)
    assert hashes == [tiny_soft_prompt(1).content_hash, tiny_soft_prompt(2).content_hash]


def test_local_folder_wins_over_the_hub_name_of_the_same_text(tmp_path: Path) -> None:
    tiny_soft_prompt(1).save(tmp_path / "runs" / "mood")
    os.chdir(tmp_path)
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(), soft_prompt="runs/mood")
    metadata = llm.invoke(QUESTION).response_metadata
    assert metadata["soft_prompt"] == "runs/mood"
    assert "soft_prompt_revision" not in metadata


def _fake_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """The Hub's door, replaced: it says where a name leads; what is under test is how often it is asked."""
    asked: list[str] = []
    local = hub.fetch_soft_prompt

    def fetch(ref: SoftPromptRef, *, policy: hub.HubPolicy | None = None) -> tuple[Path, str | None]:
        if ref.folder is not None:
            return local(ref, policy=policy)
        asked.append(str(ref))
        return folder, "c0ffee"

    monkeypatch.setattr(hub, "fetch_soft_prompt", fetch)
    return asked


def test_hub_name_is_resolved_once_and_its_commit_is_told(prompt_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _fake_hub(monkeypatch, prompt_folder)
    shelf = Shelf()
    soft_prompts = [shelf.get("acme/mood@main") for _ in range(3)]
    assert asked == ["acme/mood@main"]
    assert {(soft_prompt.source, soft_prompt.revision) for soft_prompt in soft_prompts} == {("acme/mood@main", "c0ffee")}


def test_traces_never_go_to_the_hub(prompt_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _fake_hub(monkeypatch, prompt_folder)
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(), soft_prompt="acme/unseen")
    assert llm._identifying_params["soft_prompt"] == "acme/unseen"
    assert llm._get_ls_params().get("softprompt_source") == "acme/unseen"
    assert not asked


def test_cache_key_of_a_hub_name_is_its_content(prompt_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch may have moved since another process filed its answer under the same name."""
    _fake_hub(monkeypatch, prompt_folder)
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(), soft_prompt="acme/moving")
    assert tiny_soft_prompt(1).content_hash in llm._get_llm_string()


def test_shelf_keeps_a_bounded_number(tmp_path: Path) -> None:
    shelf = Shelf(max_kept=1)
    folders = [tiny_soft_prompt(seed).save(tmp_path / str(seed)) for seed in (1, 2)]
    for folder in folders:
        shelf.get(folder)
    assert shelf.peek(folders[0]) is None
    assert shelf.peek(folders[1]) is not None


async def test_unloaded_folder_does_not_block_the_event_loop_for_a_trace(prompt_folder: Path) -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(), soft_prompt=prompt_folder)
    assert "soft_prompt_hash" not in llm._identifying_params
    await llm.ainvoke(QUESTION)
    assert "soft_prompt_hash" in llm._identifying_params


def test_folder_at_hand_is_named_by_its_content(prompt_folder: Path) -> None:
    llm: Any = ChatSoftPrompt(model="fake", engine=FakeEngine(), soft_prompt=prompt_folder)
    assert llm._identifying_params["soft_prompt_hash"] == tiny_soft_prompt(1).content_hash
