"""``langchain-softprompt inspect``: tables for people, JSON for machines, a page for both."""

from __future__ import annotations

import inspect as python_inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langchain_softprompt.cli.app import app, main
from langchain_softprompt.cli.inspect import inspect
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.inspection import SECTIONS
from langchain_softprompt.testing import save_tiny_model
from tests.unit_tests.inspection.looking import ROWS, about, made_by_peft, random_key_values


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a soft prompt and rows in it."""
    monkeypatch.chdir(tmp_path)
    loaded = FrozenModel.load(model, dtype="float32", device="cpu")
    random_key_values(loaded, manifest=about(loaded)).save(tmp_path / "soft")
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return tmp_path


def _arguments(model: Path, *more: str, soft_prompt: str = "soft") -> list[str]:
    return ["inspect", soft_prompt, "--model", str(model), "--dtype", "float32", "--device", "cpu", "--max-tokens", "4", *more]


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as the shell does."""
    monkeypatch.setattr(sys, "argv", ["langchain-softprompt", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert isinstance(left.value.code, int)
    return left.value.code


def _json(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_people_get_a_heading_and_a_plain_sentence_for_each_part(model: Path, folder: Path) -> None:
    done = CliRunner().invoke(app, _arguments(model, "--data", "rows.jsonl"), catch_exceptions=False, env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert done.stdout == ""
    said = done.stderr
    for title in (
        "Identity",
        "Norms",
        "Drift",
        "Ablation",
        "Influence",
        "Attention",
        "Self-description",
        "Nearest words (not an explanation)",
    ):
        assert f"\n{title}\n" in said
    for words in ("It was made for this very model.", "blue whale", "the soft prompt off", "where the model looks, not why", "2112.08348"):
        assert words.lower() in said.lower()


def test_machines_get_one_json_object_on_stdout(model: Path, folder: Path) -> None:
    facts = _json(*_arguments(model, "--data", "rows.jsonl", "--report", "deep/page.html"))
    assert set(SECTIONS) <= set(facts)
    assert facts["samples"] == "4 rows of the data, with the wanted answers"
    assert facts["report"] == "deep/page.html"
    assert "Not an explanation" in (folder / "deep" / "page.html").read_text("utf-8")


def test_rows_are_drawn_by_the_seed(model: Path, folder: Path) -> None:
    def drawn(*more: str) -> list[str]:
        facts = _json(*_arguments(model, "--data", "rows.jsonl", "--rows", "2", "--ablation-rows", "1", *more))
        return [one["text"] for one in facts["influence"]["inputs"]]

    assert drawn() == drawn()
    assert len(drawn()) == 2
    assert any(drawn("--seed", str(seed)) != drawn() for seed in (1, 2))


def test_quick_shows_identity_norms_and_drift_and_reads_no_rows(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = _json(*_arguments(model, "--quick"))
    assert {name for name in SECTIONS if name in facts} == {"identity", "norms", "drift"}
    assert _main(monkeypatch, *_arguments(model, "--quick", "--data", "rows.jsonl")) == 1
    assert "Leave out either --quick or --data" in capsys.readouterr().err


def test_the_start_can_be_named(model: Path, folder: Path) -> None:
    loaded = FrozenModel.load(model, dtype="float32", device="cpu")
    random_key_values(loaded, seed=1, manifest=about(loaded)).save(folder / "start")
    assert _json(*_arguments(model, "--quick", "--initial", "start"))["drift"]["start"] == "start"
    assert _json(*_arguments(model, "--quick", "--initial", "soft"))["drift"]["by_token"][0]["distance"] == pytest.approx(0, abs=1e-6)


def test_rows_without_the_trained_answer_are_used_without_it(model: Path, folder: Path) -> None:
    Path("plain.csv").write_text("text\ncow\nhen\n")
    done = CliRunner().invoke(app, _arguments(model, "--data", "plain.csv", "--json"), catch_exceptions=False)
    assert json.loads(done.stdout)["samples"] == "2 rows of the data, with the answers that the soft prompt itself gives"
    assert "has no field 'label'" in done.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--target", "label"], "Name the rows as well: --data rows.jsonl"),
        (["--data", "rows.jsonl", "--target", "nothing"], "has no field 'nothing'"),
        (["--data", "missing.jsonl"], "missing.jsonl"),
        (["--initial", "missing"], "missing"),
        (["--task", "2"], "expected none for PREFIX_TUNING"),
        (["--report", "rows.jsonl/page.html"], "report: can't make the folder"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_1(
    more: list[str], said: str, model: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _main(monkeypatch, *_arguments(model, *more)) == 1
    error = capsys.readouterr().err
    assert said in error.replace("\n", " ")
    assert "Traceback" not in error


def test_a_task_of_a_multitask_prompt_is_named_by_its_number(model: Path, folder: Path) -> None:
    loaded = FrozenModel.load(model, dtype="float32", device="cpu")
    made_by_peft(folder / "many", "MULTITASK_PROMPT_TUNING", loaded)
    facts = _json(*_arguments(model, "--quick", "--task", "1", soft_prompt="many"))
    assert facts["identity"]["task"] == 1


def test_the_page_names_the_command_that_made_it(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _main(monkeypatch, *_arguments(model, "--quick", "--report", "page.html")) == 0
    assert "langchain-softprompt inspect soft --model" in Path("page.html").read_text("utf-8")


def test_the_help_names_every_option_and_imports_no_torch() -> None:
    program = (
        "import sys; from langchain_softprompt.cli.app import app; app(['inspect', '--help'], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    environment = {"COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    other = {"input_field": "--input", "other_model": "--allow-other-model", "soft_prompt": "soft_prompt"}
    for name in python_inspect.signature(inspect).parameters:
        assert other.get(name, f"--{name.replace('_', '-')}") in done.stdout.lower()


def test_a_strangers_words_do_not_steer_the_terminal(model: Path, folder: Path) -> None:
    """Control characters of a manifest are shown as pictures of themselves."""
    frozen = FrozenModel.load(model, dtype="float32", device="cpu")
    told = about(frozen).model_copy(update={"description": "\x1b[2J\x1b[31mred\x07\x9b1m"})
    random_key_values(frozen, manifest=told).save(folder / "hostile")
    result = CliRunner().invoke(app, _arguments(model, "--quick", soft_prompt="hostile"), env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.stderr
    assert "␛[2J␛[31mred" in result.stderr
    assert not {"\x1b", "\x07", "\x9b"} & set(result.stderr + result.stdout)


def test_a_stranger_s_words_stay_in_their_cell_and_their_sentence(model: Path, folder: Path) -> None:
    loaded = FrozenModel.load(model, dtype="float32", device="cpu")
    manifest = about(loaded)
    record = manifest.base_model.model_copy(update={"id": "a\nLeft out\nnothing", "fingerprint": "ab" * 32})
    odd = manifest.model_copy(update={"description": "Sorts.\nLeft out\nnothing", "base_model": record, "method": "x\nLeft out"})
    random_key_values(loaded, manifest=odd).save(folder / "odd")
    done = CliRunner().invoke(
        app, _arguments(model, "--quick", "--allow-other-model", soft_prompt="odd"), catch_exceptions=False, env={"COLUMNS": "200"}
    )
    assert done.exit_code == 0
    shown = [line.strip() for line in done.stderr.splitlines()]
    assert not {"Left out", "nothing"} & set(shown[: shown.index("Norms")])
    assert any(r"It was made for another model, a\nLeft out\nnothing." in line for line in shown)
