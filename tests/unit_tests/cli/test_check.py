"""``langchain-softprompt check``: a verdict in words, as JSON, and as an exit code."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from langchain_softprompt.cli.app import app, main
from langchain_softprompt.cli.check import BROKEN, DRIFTED, UNKNOWN
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model, tiny_model, tiny_soft_prompt
from tests.tiny import WITH_DEFAULT_SYSTEM
from tests.unit_tests.ageing.old import QUESTIONS, evaluated, made, rows, scaled


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with soft prompts in it, and rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    frozen = tiny_model()
    made(frozen).save("same")
    scaled(made(frozen), 1.05).save("drifted")
    replace(made(frozen), tensors=tiny_soft_prompt(11).tensors).save("broken")
    made(frozen, probes=False).save("old")
    Path("rows.jsonl").write_text("".join(json.dumps({"text": question}) + "\n" for question in QUESTIONS))
    return tmp_path


def _check(model: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments, "--model", str(model), "--dtype", "float32", "--device", "cpu"])


@pytest.mark.parametrize(
    ("names", "verdict", "code"),
    [
        (["same"], "same", 0),
        (["drifted"], "drifted", DRIFTED),
        (["broken"], "broken", BROKEN),
        (["old"], "unknown", UNKNOWN),
        (["same", "drifted"], "drifted", DRIFTED),
        (["broken", "drifted", "old"], "broken", BROKEN),
        (["same", "old"], "unknown", UNKNOWN),
    ],
)
def test_the_worst_verdict_is_the_exit_code_and_json_alone_is_on_stdout(model: Path, names: list[str], verdict: str, code: int) -> None:
    result = _check(model, *names, "--json")
    facts = json.loads(result.stdout)
    assert (result.exit_code, facts["verdict"]) == (code, verdict)
    assert [one["soft_prompt"] for one in facts["checked"]] == names
    assert [one["verdict"] for one in facts["checked"]] == ["unknown" if name == "old" else name for name in names]


def test_people_read_on_stderr_what_has_drifted_by_how_much_and_what_to_do(model: Path) -> None:
    result = _check(model, "drifted")
    assert result.stdout == ""
    said = result.stderr
    assert "drifted: drifted" in said
    assert "nats (0.005 allowed)" in said
    assert "the same tokens" in said
    assert "See what that does to its scores" in said


def test_record_writes_probes_that_the_next_check_finds_the_same(model: Path) -> None:
    before = SoftPrompt.load(Path("old"))
    recorded = _check(model, "old", "--record", "--data", "rows.jsonl")
    assert recorded.exit_code == 0, recorded.stderr
    after = SoftPrompt.load(Path("old"))
    assert len(after.manifest.probes.probes) == 3
    assert after.content_hash == before.content_hash
    assert after.manifest.model_copy(update={"probes": None}) == before.manifest
    assert _check(model, "old").exit_code == 0


def test_record_renews_probes_and_tells_what_the_old_ones_said(model: Path) -> None:
    result = _check(model, "drifted", "--record")
    assert result.exit_code == 0
    assert "By those it had, it was: drifted (log-probabilities are off by" in result.stderr
    facts = json.loads(_check(model, "broken", "--record", "--json").stdout)
    assert (facts["recorded"], facts["verdict"], facts["checked"][0]["before"]["verdict"]) == (True, "same", "broken")


def test_probes_are_written_into_a_runs_best_and_not_beside_it(model: Path, prompts: Path) -> None:
    Path("run").mkdir()
    Path("old").rename("run/best")
    assert _check(model, "run", "--record", "--data", "rows.jsonl").exit_code == 0
    assert [path.name for path in Path("run").iterdir()] == ["best"]
    manifest = SoftPrompt.load(prompts / "run" / "best").manifest
    assert manifest is not None
    assert manifest.probes is not None


def test_the_recorded_evaluation_is_made_again_on_the_rows_given(model: Path) -> None:
    frozen = tiny_model()
    known = rows(frozen, made(frozen, probes=False))
    evaluated(frozen, made(frozen), known).save("judged")
    Path("known.jsonl").write_text("".join(json.dumps(row) + "\n" for row in known))
    result = _check(model, "judged", "--data", "known.jsonl", "--json")
    (facts,) = json.loads(result.stdout)["checked"]
    assert (result.exit_code, facts["evaluation"]["same_data"]) == (0, True)
    assert [score["now"] for score in facts["evaluation"]["scores"]] == [score["then"] for score in facts["evaluation"]["scores"]]
    shown = _check(model, "judged", "--data", "known.jsonl").stderr
    assert "exact_match" in shown
    replace(SoftPrompt.load(Path("judged")), tensors=tiny_soft_prompt(11).tensors).save("judged")
    assert _check(model, "judged", "--data", "known.jsonl").exit_code == BROKEN


def test_a_chat_template_that_changed_is_told_of_with_the_first_difference(model: Path) -> None:
    made(tiny_model(), drop_default_system=False).save("plain")
    shutil.copytree(model, "renewed")
    template = Path("renewed/chat_template.jinja")
    assert template.is_file()
    template.write_text(WITH_DEFAULT_SYSTEM)
    result = _check(Path("renewed"), "plain")
    assert result.exit_code in {DRIFTED, BROKEN}
    assert "3 rendered otherwise" in result.stderr
    assert re.search(r"Probe 1: \d+ tokens then, \d+ now; from token 2 on it read 'user", result.stderr)
    assert "Chats are rendered otherwise than it was trained on" in result.stderr


def test_a_model_that_it_was_not_made_for_is_broken_unless_that_is_asked_for(prompts: Path) -> None:
    other = save_tiny_model(prompts / "other", seed=1)
    refused = _check(other, "same")
    assert refused.exit_code == BROKEN
    assert "was made for" in refused.stderr
    tried = json.loads(_check(other, "same", "--allow-other-model", "--json").stdout)["checked"][0]
    assert (tried["failure"], tried["identity"]["same_model"]) == ("", False)
    assert tried["probes"]["verdict"] in {"drifted", "broken"}


def test_int8_is_checked_as_it_is_served(model: Path) -> None:
    result = _check(model, "same", "--quantization", "int8", "--json")
    (facts,) = json.loads(result.stdout)["checked"]
    assert (result.exit_code, facts["identity"]["now"]["quantization"]) == (0, "int8")
    assert facts["probes"]["precision"] == "float32 then, int8 now"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "nowhere"),
        (["old", "--record"], "old has no probes to renew. Give rows to choose some from: --record --data ROWS."),
        (["same", "--data", "rows.jsonl"], "same has no recorded evaluation to make again."),
        (["old", "--record", "--data", "none.jsonl"], "none.jsonl: can't be read"),
        (["plain", "--record", "--data", "rows.jsonl"], "plain does not say which messages to send with it."),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_1(
    model: Path, arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_soft_prompt().save("plain")
    monkeypatch.setattr(sys, "argv", ["langchain-softprompt", "check", *arguments, "--model", str(model)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


def test_brackets_in_a_folders_name_are_not_taken_for_markup(model: Path) -> None:
    made(tiny_model()).save("[red]odd[/]")
    assert "[red]odd[/]: same" in _check(model, "[red]odd[/]").stderr
