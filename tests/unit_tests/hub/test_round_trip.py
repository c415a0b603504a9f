"""Pushed from one cache, pulled into another: the chain runs, plain PEFT loads it, and both say the same as before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, snapshot_download
from huggingface_hub.utils import _cache_manager
from langchain_core.prompts import ChatPromptTemplate
from typer.testing import CliRunner

from langchain_softprompt import ChatSoftPrompt
from langchain_softprompt.cli.app import app
from langchain_softprompt.engine import close_all
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model, tiny_soft_prompt
from tests.hub import TOKEN, LoopbackHub
from tests.unit_tests.hub.shared import MANIFEST
from tests.unit_tests.soft_prompt.peft_folders import logits_at_once, peft_logits

pytest_plugins = ("tests.hub.fixtures",)
NAME = "tester/letters"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


@pytest.fixture
def pushed(default_hub: LoopbackHub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The commit of a soft prompt that was pushed; the cache is another one from then on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    PINS.forget()
    fingerprint = FrozenModel.load(model).fingerprint
    record = MANIFEST.base_model.model_copy(update={"fingerprint": fingerprint})
    replace(tiny_soft_prompt(5), manifest=MANIFEST.model_copy(update={"base_model": record})).save("own")
    result = CliRunner().invoke(app, ["push", "own", NAME, "--yes"])
    assert result.exit_code == 0, result.output
    for module in (constants, _cache_manager):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path / "another" / "hub"))
    monkeypatch.delenv("HF_TOKEN")
    PINS.forget()
    yield default_hub.head(NAME)
    close_all()
    PINS.forget()


def test_a_chain_wears_it_by_its_name_and_says_at_which_commit(pushed: str, model: Path, tmp_path: Path) -> None:
    llm = ChatSoftPrompt(model=str(model), dtype="float32", temperature=0, max_tokens=8)
    prompt = ChatPromptTemplate([("human", "{text}")])
    by_name = (prompt | llm.with_soft_prompt(NAME)).invoke({"text": "abc"})
    of_folder = (prompt | llm.with_soft_prompt(tmp_path / "own")).invoke({"text": "abc"})
    assert by_name.text == of_folder.text != llm.invoke("abc").text
    assert by_name.response_metadata["soft_prompt_revision"] == pushed
    pinned = llm.with_soft_prompt(f"{NAME}@{pushed}").invoke("abc")
    assert (pinned.text, pinned.response_metadata["soft_prompt_revision"]) == (by_name.text, pushed)


def test_plain_peft_loads_it_and_gives_the_same_logits(pushed: str, model: Path) -> None:
    """Within 1e-5 of the largest logit, float32, one row."""
    folder = Path(snapshot_download(NAME, revision=pushed))
    assert (folder / "README.md").is_file()
    frozen = FrozenModel.load(model, dtype="float32")
    ids = [5, 6, 7, 8]
    expected = peft_logits(frozen, folder, ids, None)

    found = logits_at_once(frozen, compile_prefix(frozen, SoftPrompt.load(f"{NAME}@{pushed}")), ids)

    torch.testing.assert_close(found, expected[-1], atol=1e-5 * float(expected.abs().max()), rtol=0)
    assert (found - logits_at_once(frozen, None, ids)).abs().max() > 0.01
