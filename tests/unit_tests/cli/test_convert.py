"""``langchain-softprompt convert``: a folder that PEFT and this package load, or one sentence that says why not."""

from __future__ import annotations

import inspect as python_inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from langchain_softprompt.cli.app import app, main
from langchain_softprompt.cli.convert import convert
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.conversion.made import META, Payload, caikit, koboldai, npy_of, rows


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a file of each format in it."""
    monkeypatch.chdir(tmp_path)
    caikit(tmp_path, rows())
    koboldai(tmp_path / "gloom.zip", npy_of(rows(dtype=torch.float16)))
    return tmp_path


def _arguments(file: str, *more: str, output: str = "made") -> list[str]:
    return ["convert", file, output, "--base-model", "acme/base", *more]


def _json(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as the shell does."""
    monkeypatch.setattr(sys, "argv", ["langchain-softprompt", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize(
    ("file", "format_", "dtype", "about"), [("decoder.pt", "caikit", "float32", {}), ("gloom.zip", "KoboldAI", "float16", META)]
)
def test_machines_get_one_json_object_and_the_folder_holds_the_rows(
    file: str, format_: str, dtype: str, about: dict[str, str], folder: Path
) -> None:
    facts = _json(*_arguments(file))
    made = SoftPrompt.load(folder / "made")
    assert torch.equal(made.tensors["prompt_embeddings"], rows(dtype=getattr(torch, dtype)))
    assert made.config.base_model_name_or_path == "acme/base"
    assert facts == {
        "file": file,
        "output": "made",
        "format": format_,
        "type": "PROMPT_TUNING",
        "virtual_tokens": 6,
        "hidden_size": 32,
        "dtype": dtype,
        "base_model": "acme/base",
        "content_hash": made.content_hash,
        "about": about,
    }


def test_people_get_what_was_read_what_it_says_of_itself_and_what_to_do_next(folder: Path) -> None:
    done = CliRunner().invoke(app, _arguments("gloom.zip"), catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout == ""
    for words in (
        "Saved made: 6 virtual tokens of 32 numbers in float16, read from KoboldAI's format.",
        "description: Everything is grey.",
        "only its width can be checked",
        "langchain-softprompt inspect made --model acme/base",
    ):
        assert words in done.stderr


def test_a_soft_prompt_in_the_folder_is_replaced_only_when_asked(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _json(*_arguments("gloom.zip"))
    assert _main(monkeypatch, *_arguments("decoder.pt")) == 1
    assert "output: made holds a soft prompt already. Replace it (--force)" in capsys.readouterr().err
    assert _json(*_arguments("decoder.pt", "--force"))["dtype"] == "float32"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("missing.pt", "There is no file at 'missing.pt'"),
        (".", "found a folder. Name one file in it: decoder.pt, gloom.zip."),
        ("adapter_model.bin", "PEFT's pickled weights. Pickled weights can run code and are never read."),
        ("evil.pt", "data.pkl: expected a tensor and nothing else, found"),
    ],
)
def test_a_file_that_is_not_read_is_one_sentence_and_leaves_no_folder(
    file: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if file == "evil.pt":
        caikit(folder, Payload(folder / "proof"), file)
    if file == "adapter_model.bin":
        caikit(folder, {"prompt_embeddings": rows()}, file)
    assert _main(monkeypatch, *_arguments(file)) == 1
    error = capsys.readouterr().err.replace("\n", " ")
    assert said in error
    assert "Traceback" not in error
    assert not (folder / "made").exists()
    assert not (folder / "proof").exists()


def test_a_base_model_must_be_named(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert _main(monkeypatch, "convert", "decoder.pt", "made") == 2
    assert "--base-model" in capsys.readouterr().err


def test_a_strangers_words_do_not_steer_the_terminal(folder: Path) -> None:
    koboldai(folder / "hostile.zip", npy_of(rows()), {"name": "\x1b[2J\x1b[31mred\x07\x9b1m"})
    done = CliRunner().invoke(app, _arguments("hostile.zip"), catch_exceptions=False)
    assert done.exit_code == 0
    assert not {"\x1b", "\x07", "\x9b"} & set(done.stderr + done.stdout)


def test_the_help_names_every_option_and_imports_no_torch() -> None:
    program = (
        "import sys; from langchain_softprompt.cli.app import app; app(['convert', '--help'], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    environment = {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    for name in python_inspect.signature(convert).parameters:
        assert {"file": "file", "output": "output"}.get(name, f"--{name.replace('_', '-')}") in done.stdout.lower()
