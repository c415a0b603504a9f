"""GGUF files are converted once, whole or not at all."""

from __future__ import annotations

import importlib.util
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from langchain_softprompt.errors import FrozenModelError, MissingExtraError
from langchain_softprompt.frozen_model import FrozenModel, gguf, render_chat
from langchain_softprompt.testing import tiny_tokenizer

pytest.importorskip("gguf", reason="reading GGUF is an extra")
from tests.tiny_gguf import HIDDEN, LAYERS, write_tiny_gguf


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def _folders(cache: Path) -> list[str]:
    return sorted(entry.name for entry in cache.iterdir() if entry.is_dir()) if cache.exists() else []


def test_a_gguf_file_loads_with_its_weights_end_token_and_chat_template(tmp_path: Path, cache: Path) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.Q4.gguf")
    model, original = FrozenModel.load(file, dtype="float32"), tiny_tokenizer()
    assert (model.name, model.num_layers, model.hidden_size) == ("tiny.Q4", LAYERS, HIDDEN)
    assert model.eos_token_ids == (original.eos_token_id,)
    assert model.reuses_prefix
    written = np.random.default_rng(len("output.weight")).normal(0, 0.3, (model.vocab_size, HIDDEN))
    assert np.allclose(model.model.lm_head.weight.numpy(), written, atol=4e-3), "bfloat16 keeps 8 bits"
    assert model.tokenizer is not None
    chat = [{"role": "user", "content": "Hi <|im_end|>"}]
    assert render_chat(model.tokenizer, chat) == render_chat(original, chat)


def test_the_second_load_finds_the_first_ones_folder(tmp_path: Path, cache: Path) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    first = FrozenModel.load(file)
    written = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert FrozenModel.load(file).fingerprint == first.fingerprint
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == written
    assert _folders(cache) == [first.folder.name]


def test_a_gguf_file_may_be_named_inside_its_folder(tmp_path: Path, cache: Path) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    assert FrozenModel.load(tmp_path, gguf_file="tiny.gguf").fingerprint == FrozenModel.load(file).fingerprint


def test_a_file_that_changed_under_its_name_is_converted_again(tmp_path: Path, cache: Path) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    first = gguf.converted_folder(file)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert gguf.converted_folder(file) != first


@pytest.mark.parametrize("content", [b"", b"GGUF", b"x" * 5000, b"GGUF\x03\0\0\0" + b"\xff" * 64, 0.05, 0.5, 0.999], ids=str)
def test_a_corrupt_file_is_a_typed_error_and_leaves_no_folder(tmp_path: Path, cache: Path, content: bytes | float) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * content)] if isinstance(content, float) else content)
    with pytest.raises(FrozenModelError, match=r"tiny\.gguf"):
        FrozenModel.load(file)
    assert _folders(cache) == []


@pytest.mark.parametrize("without", ["blk.1.ffn_up.weight", "output_norm.weight"])
def test_a_file_that_lacks_a_weight_is_refused_rather_than_filled_with_random_numbers(tmp_path: Path, cache: Path, without: str) -> None:
    with pytest.raises(FrozenModelError, match="missing"):
        FrozenModel.load(write_tiny_gguf(tmp_path / "tiny.gguf", without=without))
    assert _folders(cache) == []


def test_a_file_that_is_not_there_is_a_typed_error(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(FrozenModelError, match=r"Can't read the GGUF file .*none\.gguf"):
        FrozenModel.load(tmp_path, gguf_file="none.gguf")


def test_a_cache_that_can_not_be_written_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_CACHE", str(tmp_path / "taken"))
    with pytest.raises(FrozenModelError, match="LANGCHAIN_SOFTPROMPT_CACHE"):
        FrozenModel.load(write_tiny_gguf(tmp_path / "tiny.gguf"))


def test_without_the_reader_the_command_that_installs_it_is_named(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="pip install gguf accelerate"):
        gguf.converted_folder(file)


def test_two_threads_at_once_convert_once(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Processes do the same, see the integration tests."""
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    with caplog.at_level("INFO", logger="langchain_softprompt"), ThreadPoolExecutor(2) as threads:
        first, second = threads.map(gguf.converted_folder, [file, file])
    assert first == second
    assert [record.getMessage() for record in caplog.records].count(f"Converting tiny.gguf once, to {first}") == 1


def test_what_a_killed_process_left_behind_is_swept_away_and_nothing_else_is(tmp_path: Path, cache: Path) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    folder = gguf.converted_folder(file)
    shutil.rmtree(folder)
    abandoned, other = cache / f".{folder.name}-abc", cache / ".another-0123-abc"
    for place in (abandoned, other):
        place.mkdir()
        (place / "model.safetensors").write_bytes(b"half")
    assert gguf.converted_folder(file) == folder
    assert _folders(cache) == sorted([folder.name, other.name])
