"""The outline of a model says what the loaded model says, and its weight files give the same fingerprint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from langchain_softprompt.errors import FrozenModelError, ModelUnavailableError
from langchain_softprompt.frozen_model import FrozenModel, ModelOutline, stored_fingerprint
from langchain_softprompt.testing import save_tiny_model, tiny_tokenizer
from tests.tiny import random_model

FAMILIES = ("Llama", "Mistral", "Gemma2", "GPT2", "Lfm2")


def _saved(folder: Path, family: str, **changes: object) -> Path:
    random_model(family, **changes).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_the_outline_agrees_with_the_loaded_model_in_all_that_it_says(tmp_path: Path, family: str, tied: bool) -> None:
    folder = _saved(tmp_path / "model", family, tie_word_embeddings=tied)
    model, outline = FrozenModel.load(folder, dtype="float32"), ModelOutline.load(folder)
    for name in ("name", "revision", "max_positions", "eos_token_ids", "vocab_size", "hidden_size", "fingerprint"):
        assert getattr(outline, name) == getattr(model, name), name
    assert outline.tokenizer.get_vocab() == model.tokenizer.get_vocab()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_fingerprint_off_the_files_is_that_of_the_model_in_whatever_dtype_they_are(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = save_tiny_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    assert stored_fingerprint(folder) == FrozenModel.load(folder, dtype="float32").fingerprint


def test_weights_in_several_files_have_the_same_fingerprint(tmp_path: Path) -> None:
    whole = save_tiny_model(tmp_path / "whole")
    parts = tmp_path / "parts"
    FrozenModel.load(whole, dtype="float32").model.save_pretrained(parts, max_shard_size="10KB")
    assert len(list(parts.glob("*.safetensors"))) > 1
    assert stored_fingerprint(parts) == stored_fingerprint(whole)


def test_the_fingerprint_is_unknown_without_weight_files(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    assert stored_fingerprint(folder) is None
    outline = ModelOutline.load(folder)
    assert outline.known_fingerprint is None
    assert len(outline.fingerprint) == 64
    outline.served_fingerprint = "ab" * 32
    assert outline.fingerprint == "ab" * 32


def test_the_fingerprint_is_unknown_where_tensors_do_not_go_by_the_models_own_names(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    save_file({f"other.{name}": tensor for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    assert stored_fingerprint(folder) is None


def _with_header(folder: Path, change: object) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)  # type: ignore[operator]
    new = json.dumps(header).encode()
    weights.write_bytes(len(new).to_bytes(8, "little") + new + content[8 + length :])


@pytest.mark.parametrize("offsets", [[0, 1 << 60], [-8, 0], [0, 1]], ids=["beyond the end", "before the start", "of another size"])
def test_the_fingerprint_is_unknown_where_a_header_lies(tmp_path: Path, offsets: list[int]) -> None:
    folder = save_tiny_model(tmp_path / "model")
    _with_header(folder, lambda header: header["lm_head.weight"].update(data_offsets=offsets))
    assert stored_fingerprint(folder) is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, (1 << 40).to_bytes(8, "little"), (4).to_bytes(8, "little") + b"null"], ids=repr)
def test_the_fingerprint_is_unknown_where_weights_are_no_safetensors(tmp_path: Path, content: bytes) -> None:
    folder = save_tiny_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(content)
    assert stored_fingerprint(folder) is None


def test_the_servers_context_counts_where_it_is_smaller(tmp_path: Path) -> None:
    outline = ModelOutline.load(save_tiny_model(tmp_path / "model", max_positions=512))
    assert outline.max_positions == 512
    outline.served_positions = 100
    assert outline.max_positions == 100
    outline.served_positions = 1000
    assert outline.max_positions == 512


def test_a_folder_that_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FrozenModelError, match="configuration and tokenizer"):
        ModelOutline.load(tmp_path)
    with pytest.raises(ModelUnavailableError, match="No model at"):
        ModelOutline.load(tmp_path / "nothing")
