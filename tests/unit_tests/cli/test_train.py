"""``langchain-softprompt train``: files in, a soft-prompt folder out, and mistakes told in one sentence."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from langchain_softprompt.cli.app import app, main
from langchain_softprompt.cli.train import train
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model
from tests.unit_tests.training.learning import INSTRUCTIONS, ROWS, VALIDATION


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with data and templates in it."""
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, ROWS * 4)))
    Path("watched.csv").write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in VALIDATION))
    template = [{"role": "system", "template": INSTRUCTIONS}, {"role": "human", "template": "Animal: {text}"}]
    Path("homes.json").write_text(json.dumps(template))
    Path("homes.txt").write_text(INSTRUCTIONS)
    return tmp_path


# Neither folds nor a search for the learning rate, unless a test is about them.
_QUICK = ["--folds", "0", "--learning-rate", "0.05"]


def _arguments(model: Path, *more: str, template: str = "homes.json", data: str = "rows.jsonl", target: str = "label") -> list[str]:
    chosen = ["--template", template, "--data", data, "--target", target, "--output", "out", "--model", str(model)]
    return ["train", *chosen, "--steps", "4", "--batch-size", "2", "--dtype", "float32", "--device", "cpu", *_QUICK, *more]


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as the shell does."""
    monkeypatch.setattr(sys, "argv", ["langchain-softprompt", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert isinstance(left.value.code, int)
    return left.value.code


def test_it_writes_a_folder_that_peft_loads_and_that_answers_alike_in_both(model: Path, files: Path) -> None:
    """Logits of PEFT's own model against ours, batch 1, fp32, 1e-4."""
    result = CliRunner().invoke(app, _arguments(model))
    assert result.exit_code == 0, result.stderr
    frozen, soft_prompt = FrozenModel.load(model, dtype="float32"), SoftPrompt.load(files / "out")
    prefix = compile_prefix(frozen, soft_prompt)
    ids = torch.tensor([[7, 8, 9, 10]])
    ours = frozen.forward(input_ids=ids, cache=prefix.to_cache(frozen), past_length=prefix.length)
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), str(files / "out" / "best")).eval()
    with torch.no_grad():
        theirs = peft(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_json_is_the_only_thing_on_stdout_and_holds_the_result(model: Path, files: Path) -> None:
    result = CliRunner().invoke(app, _arguments(model, "--json"))
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    manifest = SoftPrompt.load(files / "out").manifest
    assert manifest is not None
    assert facts == {
        "output": "out",
        "soft_prompt": "out/best",
        "finished": True,
        "best_step": manifest.training["best_step"],
        "virtual_tokens": SoftPrompt.load(files / "out").num_virtual_tokens,
        "bytes": sum(file.stat().st_size for file in (files / "out" / "best").iterdir()),
        **manifest.scores,
    }


def test_people_read_progress_and_result_on_stderr_and_stdout_stays_empty(model: Path, files: Path) -> None:
    result = CliRunner().invoke(app, _arguments(model, "--evaluate-every", "2"))
    assert result.stdout == ""
    said = result.stderr
    plan = (
        r"Plan: 21 rows to learn from, 3 to choose the best step on; \d+ virtual tokens \([\d,]+ numbers\); 4 steps; [\d,]+ tokens; about"
    )
    assert re.search(plan, said)
    assert re.search(r"step 2: loss \d+\.\d{4}, validation loss \d+\.\d{4}, exact match \d+\.\d%", said)
    assert re.search(r"step 4: loss", said)
    assert re.search(
        r"Saved out/best: \d+ virtual tokens, \d+ KiB, best step \d; on the validation rows loss \d+\.\d{3} -> \d+\.\d{3}, exact match",
        said,
    )


def test_every_option_reaches_the_manifest(model: Path, files: Path) -> None:
    more = ["--validation", "watched.csv", "--learning-rate", "0.01", "--virtual-tokens", "5", "--evaluate-every", "3", "--seed", "9"]
    record = ["--description", "Homes of animals", "--source", "made up", "--licence", "CC0"]
    result = CliRunner().invoke(app, _arguments(model, *more, *record))
    assert result.exit_code == 0, result.stderr
    manifest = SoftPrompt.load(files / "out").manifest
    assert manifest is not None
    assert manifest.data is not None
    wanted = {"max_steps": 4, "batch_size": 2, "learning_rate": 0.01, "virtual_tokens": 5, "evaluate_every": 3, "seed": 9}
    assert wanted.items() <= manifest.training.items()
    assert (manifest.description, manifest.data.source, manifest.data.licence) == ("Homes of animals", "made up", "CC0")
    assert (manifest.data.rows, manifest.data.validation_rows) == (24, 3)


def test_a_text_template_takes_its_input_field_and_the_source_is_the_data_files_name(model: Path, files: Path) -> None:
    result = CliRunner().invoke(app, _arguments(model, "--input", "text", template="homes.txt"))
    assert result.exit_code == 0, result.stderr
    manifest = SoftPrompt.load(files / "out").manifest
    assert manifest is not None
    assert manifest.data is not None
    assert manifest.data.source == "rows.jsonl"
    assert [message.template for message in manifest.input_messages] == ["{text}"]


@pytest.mark.parametrize(
    ("changes", "more", "sentence"),
    [
        ({"data": "none.jsonl"}, [], "none.jsonl: can't be read"),
        ({"template": "none.json"}, [], "none.json: can't be read as a prompt template"),
        ({"target": "intent"}, [], "rows.jsonl, line 1: has no field 'intent'; its fields are: text, label."),
        ({"template": "homes.txt"}, [], "homes.txt: a text template holds the instructions only; name the data's input field as well."),
        ({}, ["--steps", "0"], "max_steps: expected an integer of at least 1, or None, found 0."),
        ({}, ["--virtual-tokens", "9999"], "virtual_tokens: expected an integer from 1 to 4096, or None, found 9999."),
        ({}, ["--method", "lora"], "method: expected one of kv-prefix, prompt-tuning, found 'lora'."),
        ({}, ["--start-from", "none"], "none"),
        ({}, ["--residual"], "residual: expected false for any method but prompt-tuning"),
        ({}, ["--dtype", "float8"], "Unknown dtype 'float8'"),
        ({}, ["--device", "abacus"], "The device 'abacus' can't be used here"),
        ({}, ["--model", "acme/none"], "acme/none is not in the local cache and the Hub can't be reached."),
        ({}, ["--model", "[none]"], "No model at '[none]'."),
        ({}, ["--output", "homes.txt"], "output: can't make the folder homes.txt"),
        ({}, ["--folds", "99"], "folds: expected a number from 2 to the 24 rows there are, found 99."),
        ({"template": "showing.json"}, [], "showing.json: shows the model the field 'label', which it is to answer with."),
        ({}, ["--validation", "none.csv"], "none.csv: can't be read"),
        ({"data": "one.csv"}, [], "A share of 0.1 of 1 rows can't be set aside"),
    ],
)
def test_a_mistake_is_one_plain_sentence_and_exit_code_1(
    model: Path,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    more: list[str],
    sentence: str,
) -> None:
    Path("one.csv").write_text("text,label\ncow,farm\n")
    Path("showing.json").write_text(json.dumps([["system", "Say where."], ["human", "{text} is of the {label}"]]))
    assert _main(monkeypatch, *_arguments(model, *more, **changes)) == 1
    out, said = capsys.readouterr()
    assert out == ""
    (line,) = [line for line in said.splitlines() if line.startswith("Error:")]
    assert sentence in line
    assert "Traceback" not in said


def test_a_missing_option_is_named_with_the_usage(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(monkeypatch, "train", "--data", "rows.jsonl") == 2
    assert "--output" in capsys.readouterr().err
    assert _main(monkeypatch, "train", "--data", "rows.jsonl", "--output", "out") == 2
    assert "--template is missing" in capsys.readouterr().err


def test_no_command_at_all_shows_the_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(monkeypatch) in {0, 2}
    out, err = capsys.readouterr()
    assert "train" in out + err


def test_help_mentions_each_option_with_a_word_on_it() -> None:
    result = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0
    renamed = {"input_field": "--input"}
    for name, parameter in inspect.signature(train, eval_str=True).parameters.items():
        if name == "context":  # Typer's own.
            continue
        option = renamed.get(name, f"--{name.replace('_', '-')}")
        assert option in result.stdout
        assert parameter.annotation.__metadata__[0].help.split()[0] in result.stdout


def test_ctrl_c_keeps_the_best_soft_prompt_and_resume_takes_the_remaining_steps(
    model: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langchain_softprompt.training import loop

    made = loop.StepReport

    def press_ctrl_c(**values: Any) -> loop.StepReport:
        if values["step"] == 2:
            raise KeyboardInterrupt
        return made(**values)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "StepReport", press_ctrl_c)
        stopped = CliRunner().invoke(app, _arguments(model, "--evaluate-every", "1"))
    assert stopped.exit_code == 130, stopped.stderr
    assert "Stopped at step 2. Go on with it: langchain-softprompt train --resume --output out" in stopped.stderr
    manifest = SoftPrompt.load(files / "out").manifest
    assert manifest is not None
    assert manifest.training["steps_done"] == 2
    refused = CliRunner().invoke(app, ["train", "--resume", "--output", "out", "--steps", "9"])
    assert "leave --steps out" in str(refused.exception)
    resumed = CliRunner().invoke(app, ["train", "--resume", "--output", "out", "--json"])
    assert resumed.exit_code == 0, resumed.stderr
    assert json.loads(resumed.stdout)["finished"] is True
    manifest = SoftPrompt.load(files / "out").manifest
    assert manifest is not None
    assert manifest.training["steps_done"] == 4


def test_few_rows_are_judged_on_folds_and_then_all_learned_from(model: Path, files: Path) -> None:
    result = CliRunner().invoke(app, [*_arguments(model), "--folds", "3", "--json"])
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert "3 folds: each judged by a soft prompt that never saw it" in result.stderr
    assert "Expect about" in result.stderr
    manifest = SoftPrompt.load(files / "out").manifest
    assert manifest is not None
    assert manifest.data is not None
    assert (manifest.data.rows, manifest.data.validation_rows) == (24, 0)
    assert facts["folds"] == 3, "what the folds said is in the result for machines, too"
    assert facts["folds_exact_match"] == manifest.training["folds_exact_match"]


def test_five_folds_are_the_default_under_two_hundred_rows_without_validation_rows(model: Path, files: Path) -> None:
    arguments = [part for part in _arguments(model, "--steps", "1") if part not in {"--folds", "0"}]
    assert "5 folds: each judged" in CliRunner().invoke(app, arguments).stderr
    arguments = [*arguments, "--overwrite", "--validation", "watched.csv"]
    assert "folds" not in CliRunner().invoke(app, arguments).stderr


class _Killed(BaseException):
    """Nothing catches it, so that nothing is tidied up."""


def _die_at(monkeypatch: pytest.MonkeyPatch, moment: int, error: type[BaseException]) -> None:
    """At the so manieth step of any run."""
    from langchain_softprompt.training import loop

    made, left = loop.StepReport, [moment]

    def report(**values: Any) -> loop.StepReport:
        left[0] -= 1
        if left[0] == 0:
            raise error
        return made(**values)

    monkeypatch.setattr(loop, "StepReport", report)


def _stored(folder: str) -> str:
    return SoftPrompt.load(Path(folder).resolve()).content_hash


@pytest.mark.parametrize("moment", [1, 6, 14], ids=["first fold", "second fold", "after the folds"])
def test_a_run_killed_in_its_folds_goes_on_to_the_same_tensors(
    model: Path, files: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    arguments = [*_arguments(model), "--folds", "3"]
    assert CliRunner().invoke(app, [*arguments, "--output", "whole"]).exit_code == 0
    with monkeypatch.context() as patched:
        _die_at(patched, moment, _Killed)
        with pytest.raises(_Killed):
            CliRunner().invoke(app, arguments)
    resumed = CliRunner().invoke(app, ["train", "--resume", "--output", "out"])
    assert resumed.exit_code == 0, resumed.stderr
    assert _stored("out") == _stored("whole")
    assert not (files / "out" / "folds").exists()
    facts = SoftPrompt.load(files / "out").manifest
    whole = SoftPrompt.load(files / "whole").manifest
    assert facts is not None
    assert whole is not None
    assert facts.training["folds"] == 3
    assert facts.training["folds_exact_match"] == whole.training["folds_exact_match"]


def test_ctrl_c_in_the_folds_stops_the_run_and_says_how_to_go_on(model: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        _die_at(patched, 6, KeyboardInterrupt)
        stopped = CliRunner().invoke(app, [*_arguments(model), "--folds", "3"])
    assert stopped.exit_code == 130, stopped.stderr
    assert "Stopped. Go on with it: langchain-softprompt train --resume --output out" in stopped.stderr
    assert "Expect about" not in stopped.stderr
    assert "Expect about" in CliRunner().invoke(app, ["train", "--resume", "--output", "out"]).stderr


def test_a_run_killed_before_its_first_step_is_known_by_its_folder_and_may_be_begun_anew(
    model: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise _Killed

    for name, again in (("one", ["train", "--resume"]), ("two", _arguments(model))):
        with monkeypatch.context() as patched:
            patched.setattr(FrozenModel, "load", dies)
            with pytest.raises(_Killed):
                CliRunner().invoke(app, [*_arguments(model), "--output", name])
        done = CliRunner().invoke(app, [*again, "--output", name])
        assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--folds", "1"), "folds: expected 2 or more, or 0 for none, found 1."),
        (("--seed", "99999999999999999999"), "seed: expected an integer from 0 to 2**63 - 1"),
        (("--virtual-tokens", "2040"), "virtual_tokens: 2040 and the longest example"),
        (("--start", "vocabulary", "--start-from", "first"), "start: vocabulary and another soft prompt to start from exclude each other"),
        (("--input", "text"), "names its fields itself: leave the input field 'text' out"),
    ],
)
def test_what_can_not_be_is_said_before_any_step(
    model: Path, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    assert CliRunner().invoke(app, [*_arguments(model), "--output", "first"]).exit_code == 0
    assert _main(monkeypatch, *_arguments(model), *more) == 1
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_folder_is_a_start_by_its_bare_name_and_a_model_may_lie_a_way_up(
    model: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CliRunner().invoke(app, [*_arguments(model), "--output", "first"]).exit_code == 0
    (files / "within").mkdir()
    monkeypatch.chdir(files / "within")
    way_up = Path("..") / ".." / model.relative_to(files.parent)
    arguments = [*_arguments(way_up, data="../rows.jsonl", template="../homes.json"), "--start-from", "first"]
    (files / "first").rename(files / "within" / "first")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr


def test_a_run_of_another_command_is_not_gone_on_with(model: Path, files: Path) -> None:
    assert CliRunner().invoke(app, _arguments(model)).exit_code == 0
    other = CliRunner().invoke(app, ["distill", "--resume", "--output", "out"])
    assert "Go on with it with langchain-softprompt train --resume" in str(other.exception)
