"""A server finds soft prompts by content hash in the folders it was started with, also those that come later."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch

from langchain_softprompt.demo import shipped
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.vllm_plugin.served import ServedSoftPrompts


def _made(seed: int) -> SoftPrompt:
    return SoftPrompt.of_key_values(torch.randn(4, 2, 2, 2, 8, generator=torch.Generator().manual_seed(seed)))


def test_a_folder_of_folders_and_a_single_one_are_both_served(tmp_path: Path) -> None:
    many, single = [_made(1), _made(2)], _made(3)
    for number, soft_prompt in enumerate(many):
        soft_prompt.save(tmp_path / "many" / str(number))
    single.save(tmp_path / "single")
    served = ServedSoftPrompts([str(tmp_path / "many"), str(tmp_path / "single")])
    assert {one.content_hash for one in served} == {one.content_hash for one in [*many, single]}
    assert served.find("00") is None


def test_one_that_is_copied_there_later_is_found_without_a_restart(tmp_path: Path) -> None:
    served, later = ServedSoftPrompts([str(tmp_path)]), _made(1)
    assert served.find(later.content_hash) is None
    later.save(tmp_path / "later")
    found = served.find(later.content_hash)
    assert found is not None
    assert torch.equal(found.tensors["prompt_embeddings"], later.tensors["prompt_embeddings"])


def test_one_that_is_replaced_is_found_by_its_new_hash_and_those_under_way_keep_the_old_one(tmp_path: Path) -> None:
    old, new = _made(1), _made(2)
    old.save(tmp_path / "it")
    served = ServedSoftPrompts([str(tmp_path)])
    new.save(tmp_path / "it")
    assert served.find(new.content_hash) is not None
    assert served.find(old.content_hash) is not None


def test_a_folder_that_is_no_soft_prompt_is_told_of_once_and_hinders_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = _made(1)
    good.save(tmp_path / "good")
    shutil.copytree(tmp_path / "good", tmp_path / "bad")
    (tmp_path / "bad" / "adapter_model.safetensors").write_bytes(b"no tensors")
    with caplog.at_level(logging.ERROR):
        served = ServedSoftPrompts([str(tmp_path)])
        served.find("00")
    assert served.find(good.content_hash) is not None
    assert len([record for record in caplog.records if "bad" in record.getMessage()]) == 1


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "soft_prompt.json"])
def test_one_that_is_still_being_copied_is_read_again_when_it_is_whole(name: str, tmp_path: Path) -> None:
    whole = SoftPrompt.load(shipped("mood"))
    whole.save(tmp_path / "it")
    file = tmp_path / "it" / name
    content = file.read_bytes()
    file.write_bytes(content[:20])
    served = ServedSoftPrompts([str(tmp_path)])
    assert served.find(whole.content_hash) is None
    file.write_bytes(content)
    assert served.find(whole.content_hash) is not None


def test_a_manifest_that_comes_last_is_read_too(tmp_path: Path) -> None:
    whole = SoftPrompt.load(shipped("mood"))
    whole.save(tmp_path / "it")
    file = tmp_path / "it" / "soft_prompt.json"
    content = file.read_bytes()
    file.unlink()
    served = ServedSoftPrompts([str(tmp_path)])
    found = served.find(whole.content_hash)
    assert found is not None
    assert found.manifest is None
    file.write_bytes(content)
    served.find("00")
    found = served.find(whole.content_hash)
    assert found is not None
    assert found.manifest is not None


def test_what_is_told_is_what_the_folders_hold(tmp_path: Path) -> None:
    old, new = _made(1), _made(2)
    old.save(tmp_path / "it")
    served = ServedSoftPrompts([str(tmp_path)])
    new.save(tmp_path / "it")
    served.find("00")
    assert [one.content_hash for one in served] == [new.content_hash]
