"""``langchain-softprompt export``: a folder that plain PEFT loads, or one sentence that says why not."""

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
from peft import PeftModel
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

from langchain_softprompt.cli.app import app, main
from langchain_softprompt.cli.export import export
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import with_probes
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model
from tests.unit_tests.inspection.looking import about, made_by_peft, random_rows
from tests.unit_tests.soft_prompt.peft_folders import peft_logits

TOLERANCE = 1e-5
TEXT = [70, 30, 40, 50, 65]
CHATS = [[{"role": "user", "content": "cow"}], [{"role": "user", "content": "blue whale"}]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def loaded(model: Path) -> FrozenModel:
    return FrozenModel.load(model, dtype="float32", device="cpu")


@pytest.fixture
def folder(loaded: FrozenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a soft prompt of embeddings in it, that carries probes."""
    monkeypatch.chdir(tmp_path)
    made = random_rows(loaded, manifest=about(loaded, method="prompt-tuning"))
    with_probes(made, loaded, CHATS).save(tmp_path / "soft")
    return tmp_path


def _arguments(model: Path, *more: str, soft_prompt: str = "soft", output: str = "cartridge") -> list[str]:
    return ["export", soft_prompt, output, "--model", str(model), "--device", "cpu", *more]


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


def test_what_is_written_gives_in_peft_what_the_original_gives(model: Path, loaded: FrozenModel, folder: Path) -> None:
    facts = _json(*_arguments(model))
    assert (facts["exported_from"]["type"], facts["exported"]["type"]) == ("PROMPT_TUNING", "CARTRIDGE")
    assert (facts["exported"]["dtype"], facts["exported"]["bytes"]) == ("float32", 5 * 2 * 2 * 16 * 4)
    assert (facts["output"], facts["fingerprint"]) == ("cartridge", loaded.fingerprint)
    assert facts["probes"]["verdict"] == "same"
    assert facts["probes"]["largest"] < TOLERANCE
    expected = peft_logits(loaded, folder / "soft", TEXT)
    torch.testing.assert_close(peft_logits(loaded, folder / "cartridge", TEXT), expected, atol=TOLERANCE, rtol=0)
    assert SoftPrompt.load(folder / "cartridge").content_hash == facts["exported"]["content_hash"]


def test_people_get_what_it_was_and_is_what_its_probes_say_and_how_to_load_it(model: Path, folder: Path) -> None:
    done = CliRunner().invoke(app, _arguments(model), catch_exceptions=False, env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert done.stdout == ""
    for words in (
        "Saved cartridge",
        "PROMPT_TUNING",
        "CARTRIDGE",
        "1,280",
        "read from what was written: same",
        "PeftModel.from_pretrained",
    ):
        assert words in done.stderr


def test_a_task_of_a_multitask_prompt_is_named_by_its_number(model: Path, loaded: FrozenModel, folder: Path) -> None:
    made_by_peft(folder / "many", "MULTITASK_PROMPT_TUNING", loaded)
    facts = _json(*_arguments(model, "--task", "1", soft_prompt="many"))
    assert (facts["exported_from"]["task"], facts["exported"]["task"], facts["probes"]) == (1, None, None)
    expected = peft_logits(loaded, folder / "many", TEXT, task=1)
    torch.testing.assert_close(peft_logits(loaded, folder / "cartridge", TEXT), expected, atol=TOLERANCE, rtol=0)


def test_a_soft_prompt_in_the_folder_is_replaced_only_when_asked(
    model: Path, loaded: FrozenModel, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by_peft(folder / "other", "PROMPT_TUNING", loaded)
    before = (folder / "other" / "adapter_model.safetensors").read_bytes()
    assert _main(monkeypatch, *_arguments(model, output="other")) == 1
    assert "output: other holds a soft prompt already. Replace it (--force), or choose another folder." in capsys.readouterr().err
    assert (folder / "other" / "adapter_model.safetensors").read_bytes() == before
    assert _json(*_arguments(model, "--force", output="other"))["exported"]["type"] == "CARTRIDGE"
    assert _json(*_arguments(model, "--force", output="soft"))["exported_from"]["type"] == "PROMPT_TUNING"
    assert SoftPrompt.load(folder / "soft").kind == "CARTRIDGE"


def test_other_files_in_the_folder_stay(model: Path, folder: Path) -> None:
    (folder / "cartridge").mkdir()
    (folder / "cartridge" / "README.md").write_text("mine")
    _json(*_arguments(model))
    assert (folder / "cartridge" / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("file", "output: file is no folder that can be written to. Name another one."),
        ("file/very/deep", "output: file is no folder that can be written to"),
        ("dangling", "output: dangling is no folder"),
        ("half", "output: half holds a soft prompt already"),
        ("run", "output: run is the folder of a training run. Choose another one."),
        ("x" * 300, "output: can't look at"),
    ],
)
def test_a_folder_that_cant_be_written_is_said_before_the_model_is_loaded(
    output: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_text("words")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "half").mkdir()
    (folder / "half" / "soft_prompt.json").symlink_to(folder / "nowhere")
    (folder / "run").mkdir()
    for name in ("settings.json", "log.jsonl"):
        (folder / "run" / name).write_text("{}")
    assert _main(monkeypatch, "export", "soft", output, "--model", "no-such-model", *(["--force"] if output == "run" else [])) == 1
    error = capsys.readouterr().err.replace("\n", " ")
    assert said in error
    assert "Traceback" not in error


def test_a_folder_that_turns_out_not_to_take_a_file_is_one_sentence(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "odd" / "adapter_config.json").mkdir(parents=True)
    assert _main(monkeypatch, *_arguments(model, "--force", output="odd")) == 1
    error = capsys.readouterr().err.replace("\n", " ")
    assert "output: can't write to odd" in error
    assert "Traceback" not in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_leave_to_write_is_one_sentence(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "locked").mkdir(mode=0o500)
    assert _main(monkeypatch, *_arguments(model, output="locked/deep")) == 1
    assert "output: locked is no folder that can be written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--task", "2"], "expected none for PROMPT_TUNING"),
        (["--dtype", "float8"], "float8"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_1(
    more: list[str], said: str, model: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _main(monkeypatch, *_arguments(model, *more)) == 1
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert not (folder / "cartridge").exists()


def test_another_model_is_refused_with_both_fingerprints_and_taken_by_opt_in(
    loaded: FrozenModel, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = save_tiny_model(folder / "other-model", seed=1)
    assert _main(monkeypatch, *_arguments(other)) == 1
    error = capsys.readouterr().err
    fingerprint = FrozenModel.load(other, dtype="float32", device="cpu").fingerprint
    assert loaded.fingerprint in error
    assert fingerprint in error
    assert "--allow-other-model" in error
    assert not (folder / "cartridge").exists()
    facts = _json(*_arguments(other, "--allow-other-model"))
    assert (facts["fingerprint"], facts["probes"]) == (fingerprint, None)


def test_a_model_of_another_width_is_refused(
    model: Path, loaded: FrozenModel, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = random_rows(loaded)
    narrow = plain.config.model_copy(update={"token_dim": 16})
    SoftPrompt(narrow, {"prompt_embeddings": plain.tensors["prompt_embeddings"][:, :16].contiguous()}).save(folder / "narrow")
    assert _main(monkeypatch, *_arguments(model, soft_prompt="narrow")) == 1
    assert "hidden size is 16" in capsys.readouterr().err


def test_plain_peft_loads_the_folder_with_and_without_our_manifest(model: Path, folder: Path) -> None:
    _json(*_arguments(model))
    for _ in range(2):
        made = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(model), "cartridge")
        assert made.peft_config["default"].peft_type == "CARTRIDGE"
        (folder / "cartridge" / "soft_prompt.json").unlink(missing_ok=True)


def test_the_help_names_every_option_and_imports_no_torch() -> None:
    program = (
        "import sys; from langchain_softprompt.cli.app import app; app(['export', '--help'], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    environment = {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    other = {"other_model": "--allow-other-model", "soft_prompt": "soft_prompt", "output": "output"}
    for name in python_inspect.signature(export).parameters:
        assert other.get(name, f"--{name.replace('_', '-')}") in done.stdout.lower()
