"""``langchain-softprompt train`` without ``--target``: the file holds chats."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_softprompt.cli.app import main
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model
from tests.unit_tests.data.test_chats import CHATS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def arguments(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    Path("chats.jsonl").write_text("\n".join(map(json.dumps, CHATS * 2)), encoding="utf-8")
    Path("rows.jsonl").write_text('{"text": "cow", "label": "farm"}\n')
    Path("instructions.txt").write_text("You call tools.")
    Path("template.json").write_text("[]")
    quick = ["--steps", "2", "--batch-size", "2", "--learning-rate", "0.01", "--max-tokens", "2000", "--dtype", "float32"]
    return ["train", "--template", "instructions.txt", "--data", "chats.jsonl", "--output", "out", "--model", str(model), *quick]


Said = Callable[[list[str]], tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Run the command as the shell does; its exit code, and what people read."""

    def run(arguments: list[str]) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["langchain-softprompt", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert isinstance(left.value.code, int)
        return left.value.code, " ".join(capsys.readouterr().err.split())

    return run


def test_chats_become_a_soft_prompt_and_a_tenth_of_them_chooses_the_best_step(arguments: list[str], run: Said) -> None:
    code, said = run(arguments)

    assert (code, "Saved out/best" in said) == (0, True), said
    manifest = SoftPrompt.load(Path("out")).manifest
    assert manifest is not None
    assert manifest.data is not None
    chats = 2 * len(CHATS)
    held_out = -(-chats // 10)
    assert (manifest.data.rows, manifest.data.validation_rows, manifest.data.source) == (chats - held_out, held_out, "chats.jsonl")


def test_a_finished_run_of_chats_can_be_gone_on_with(arguments: list[str], run: Said) -> None:
    run(arguments)
    before = SoftPrompt.load(Path("out")).content_hash
    code, said = run(["train", "--resume", "--output", "out"])

    assert code == 0, said
    assert SoftPrompt.load(Path("out")).content_hash == before


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (["--data", "rows.jsonl"], "rows.jsonl, line 1: expected messages"),
        (["--folds", "5"], "folds: goes with --target"),
        (["--input", "text"], "input: goes with --target"),
        (["--template", "template.json"], "template.json: chats are learned under a text of instructions"),
        (["--template", "nowhere.txt"], "nowhere.txt: can't be read"),
    ],
)
def test_what_does_not_go_with_chats_is_said(arguments: list[str], changed: list[str], problem: str, run: Said) -> None:
    code, said = run([*arguments, *changed])

    assert code == 1
    assert problem in said
