"""``langchain-softprompt evaluate``: soft prompts and rows in, scores, a report and an exit code out."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_softprompt.cli.app import app, main
from langchain_softprompt.cli.evaluate import evaluate
from langchain_softprompt.cli.output import people
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model
from langchain_softprompt.training import cross_validate, train
from tests.unit_tests.evaluation.judging import LABELS, PROMPT, ROWS, TRAIN, soft_prompt


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def files(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two soft prompts, a plain one, rows, training rows and a module with a metric."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    frozen = FrozenModel.load(model, dtype="float32", device="cpu")
    for seed, name in ((1, "one"), (2, "two")):
        soft_prompt(frozen, seed, training={"target": "label"}).save(tmp_path / "prompts" / name)
    plain = soft_prompt(frozen, 3)
    SoftPrompt(plain.config, plain.tensors).save(tmp_path / "prompts" / "plain")
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    Path("train.csv").write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in TRAIN))
    Path("homes.json").write_text(json.dumps([message.model_dump() for message in PROMPT.messages]))
    Path("my_metrics.py").write_text('def short(row, answer):\n    """Whether the answer is short."""\n    return len(answer) < 6\n')
    return tmp_path


def _arguments(model: Path, *more: str, soft: tuple[str, ...] = ("prompts/one",), data: str = "rows.jsonl") -> list[str]:
    return ["evaluate", *soft, "--data", data, "--model", str(model), "--dtype", "float32", "--device", "cpu", *more]


def _json(model: Path, *more: str, soft: tuple[str, ...] = ("prompts/one",), code: int = 0) -> dict[str, object]:
    result = CliRunner().invoke(app, _arguments(model, "--json", *more, soft=soft))
    assert result.exit_code == code, result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    return found


def _names(found: dict[str, object]) -> list[str]:
    return [arm["name"] for arm in found["arms"]]  # type: ignore[attr-defined, index]


def test_json_is_the_only_thing_on_stdout_and_the_target_is_the_one_it_was_trained_on(model: Path, files: Path) -> None:
    found = _json(model, "--train-data", "train.csv", "--few-shot", "2")
    assert _names(found) == ["one", "hard prompt", "hard prompt + 2 examples", "initialisation"]
    assert (found["target"], found["rows"], found["task"], found["source"]) == ("label", 8, "classification", "rows.jsonl")
    assert found["settings"]["labels_from"] == "all rows of the data and the training data"  # type: ignore[index]
    assert {gap["arm"] for gap in found["gaps"]} == {"one"}  # type: ignore[attr-defined, index]


def test_people_read_a_table_and_sentences_on_stderr_and_stdout_stays_empty(
    model: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "width", 160)
    result = CliRunner().invoke(app, _arguments(model))
    assert (result.exit_code, result.stdout) == (0, "")
    for words in (
        "8 rows of rows.jsonl, 3 arms",
        "accuracy",
        "one of the labels",
        "free answers",
        "perplexity",
        "hard prompt",
        "one: With the soft prompt off, the model's logits",
    ):
        assert words in result.stderr
    assert "Not compared: few-shot, because no training rows were given" in result.stderr


def test_the_table_breaks_no_word_where_a_terminal_has_80_columns(model: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "width", 80)
    said = CliRunner().invoke(app, _arguments(model, "--train-data", "train.csv", "--no-knowledge")).stderr
    table = [line for line in said.splitlines() if "┃" in line or "│" in line]
    assert max(map(len, table)) <= 80
    for words in ("accuracy", "macro_f1", "exact_match", "perplexity", "tokens", "initialisation", "hard prompt", "examples"):
        assert any(words in line for line in table), words


def test_several_soft_prompts_stand_side_by_side(model: Path, files: Path) -> None:
    found = _json(model, "--no-baseline", "--no-knowledge", soft=("prompts/one", "./prompts/two"))
    assert _names(found) == ["one", "two"]
    assert {(one["arm"], one["other"]) for one in found["comparisons"]} == {("one", "two")}  # type: ignore[attr-defined, index]
    assert found["knowledge"] == []


def test_soft_prompts_of_one_name_are_told_apart_by_their_folders(model: Path, files: Path) -> None:
    for run in ("first", "second"):
        SoftPrompt.load(files / "prompts" / "one").save(files / run / "best")
    found = _json(model, "--no-baseline", "--no-knowledge", soft=("first/best", "second/best"))
    assert _names(found) == ["first/best", "second/best"]


def test_rows_are_drawn_by_the_seed_and_labels_are_still_those_of_all_rows(model: Path, files: Path) -> None:
    found = _json(model, "--rows", "4", "--seed", "3", "--no-baseline", "--no-knowledge")
    assert (found["rows"], found["settings"]["rows_drawn"], found["settings"]["labels"]) == (4, True, len(LABELS))  # type: ignore[index]
    again = _json(model, "--rows", "4", "--seed", "3", "--no-baseline", "--no-knowledge")
    assert found["data"] == again["data"] != _json(model, "--rows", "4", "--seed", "4", "--no-baseline", "--no-knowledge")["data"]


def test_labels_may_be_given_with_commas_or_in_a_file(model: Path, files: Path) -> None:
    Path("labels.txt").write_text("farm\nsea\nseaside\nair\n")
    for given in ("farm, sea,seaside,air", "labels.txt"):
        found = _json(model, "--labels", given, "--no-baseline", "--no-knowledge")
        assert found["confusions"][0]["labels"][:4] == ["air", "farm", "sea", "seaside"]  # type: ignore[index]


def test_a_function_of_ones_own_comes_first_where_no_metric_is_named_and_after_those_that_are(model: Path, files: Path) -> None:
    found = _json(model, "--function", "my_metrics:short", "--no-baseline", "--no-knowledge")
    assert [metric["name"] for metric in found["metrics"]] == ["short", "accuracy", "macro_f1", "exact_match", "perplexity"]  # type: ignore[attr-defined, index]
    found = _json(model, "--metric", "chrf", "--function", "my_metrics:short", "--no-baseline", "--no-knowledge")
    assert [metric["name"] for metric in found["metrics"]] == ["chrf", "short"]  # type: ignore[attr-defined, index]


@pytest.mark.parametrize(
    ("limits", "code"), [(["accuracy=0"], 0), (["accuracy=1.1"], 3), (["perplexity=1"], 3), (["accuracy=0", "chrf=1"], 3)]
)
def test_a_score_worse_than_it_may_be_ends_with_exit_code_3_after_everything_is_written(
    model: Path, files: Path, limits: list[str], code: int
) -> None:
    asked = [part for limit in limits for part in ("--fail-under", limit)]
    more = ["--metric", "accuracy", "--metric", "perplexity", "--metric", "chrf", "--no-baseline", "--report", "out/report.html"]
    found = _json(model, *more, *asked, code=code)
    assert bool(found["below_limit"]) is (code == 3)
    assert (files / "out" / "report.html").is_file()


def test_the_report_says_how_it_was_made(model: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = _arguments(model, "--report", "report.html", "--no-baseline")
    monkeypatch.setattr(sys, "argv", ["langchain-softprompt", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    html = (files / "report.html").read_text("utf-8")
    assert "langchain-softprompt evaluate prompts/one --data rows.jsonl" in html


def test_all_answers_can_be_kept(model: Path, files: Path) -> None:
    _json(model, "--save-answers", "answers.jsonl", "--no-knowledge")
    lines = [json.loads(line) for line in (files / "answers.jsonl").read_text("utf-8").splitlines()]
    assert [line["row"] for line in lines] == ROWS
    assert set(lines[0]["answers"]) == {"one", "hard prompt", "initialisation"}
    assert lines[0]["answers"]["one"]["choices"] in LABELS


def test_scores_are_recorded_in_the_manifest_and_the_soft_prompt_stays_what_it_was(model: Path, files: Path) -> None:
    before = SoftPrompt.load(files / "prompts" / "one")
    found = _json(model, "--record", "--no-knowledge", soft=("prompts/one", "prompts/two"))
    for name in ("one", "two"):
        manifest = SoftPrompt.load(files / "prompts" / name).manifest
        assert manifest is not None
        assert manifest.evaluation is not None
        arm = next(arm for arm in found["arms"] if arm["name"] == name)  # type: ignore[attr-defined, index]
        assert manifest.evaluation.scores["accuracy"] == arm["scores"]["accuracy"]["value"]
        assert (manifest.evaluation.data, manifest.evaluation.target) == (found["data"], "label")
    after = SoftPrompt.load(files / "prompts" / "one")
    assert after.content_hash == before.content_hash
    assert after.manifest is not None
    assert before.manifest is not None
    assert after.manifest.model_copy(update={"evaluation": None}) == before.manifest


def test_a_run_folder_stands_for_its_best_where_scores_are_recorded_and_curves_are_read(model: Path, files: Path) -> None:
    Path("runs/mine").mkdir(parents=True)
    Path("prompts/one").rename("runs/mine/best")
    Path("runs/mine/log.jsonl").write_text("".join(json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in (1, 2, 3)))
    _json(model, "--record", "--no-knowledge", "--report", "mine.html", soft=("runs/mine",))
    manifest = SoftPrompt.load(files / "runs" / "mine" / "best").manifest
    assert manifest is not None
    assert manifest.evaluation is not None
    assert {path.name for path in Path("runs/mine").iterdir()} == {"best", "log.jsonl"}, "nothing is written beside it"
    assert "loss while it was trained" in Path("mine.html").read_text("utf-8")


def test_a_plain_peft_folder_is_judged_with_a_template(model: Path, files: Path) -> None:
    found = _json(model, "--template", "homes.json", "--target", "label", "--no-knowledge", soft=("prompts/plain",))
    assert _names(found) == ["plain", "hard prompt"]


@pytest.mark.parametrize(
    ("soft", "more", "sentence"),
    [
        ("prompts/none", [], "prompts/none"),
        ("prompts/plain", ["--target", "label"], "prompts/plain does not say which messages to send with it. Give a template"),
        ("prompts/plain", ["--template", "homes.json"], "target: the soft prompt does not say which field it was trained to answer with"),
        ("prompts/plain", ["--template", "homes.json", "--target", "label", "--record"], "record: prompts/plain is no folder"),
        ("prompts/one", ["--target", "place"], "rows.jsonl, line 1: has no field 'place'"),
        ("prompts/one", ["--metric", "bleu"], "metrics: there is none named 'bleu'"),
        ("prompts/one", ["--function", "my_metrics"], "function: expected module:function, found 'my_metrics'"),
        ("prompts/one", ["--answers", "some"], "answers: expected one of auto, free, choices, both, found 'some'"),
        ("prompts/one", ["--fail-under", "0.8"], "fail-under: expected metric=number, for instance accuracy=0.8, found '0.8'"),
        ("prompts/one", ["--fail-under", "accuracy=high"], "fail-under: expected metric=number"),
        ("prompts/one", ["--fail-under", "chrf=0.5"], "fail-under: chrf is not measured here. Measured are: accuracy, macro_f1"),
        ("prompts/one", ["--labels", "farm,sea"], "labels: 'seaside' is wanted in the rows, but is none of the 2 labels given"),
        ("prompts/one", ["--train-data", "none.csv"], "none.csv: can't be read"),
        ("prompts/one", ["--max-tokens", "0"], "max_tokens: expected an integer of at least 1, found 0"),
        ("prompts/one", ["--batch-rows", "0"], "max_rows: expected an integer of at least 1, found 0"),
        ("prompts/one", ["--dtype", "float8"], "Unknown dtype 'float8'"),
        ("prompts/one", ["--report", "rows.jsonl/report.html"], "report: can't make the folder of rows.jsonl/report.html"),
        ("prompts/one", ["--save-answers", "prompts"], "save-answers: prompts can't be written"),
        ("prompts/one", ["--report", "."], "report: . can't be written: it is a folder. Name a file in it."),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence_with_exit_code_1(
    model: Path, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], soft: str, more: list[str], sentence: str
) -> None:
    arguments = [*_arguments(model, *more, soft=(soft,)), "--no-baseline", "--no-knowledge"]
    monkeypatch.setattr(sys, "argv", ["langchain-softprompt", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    err = capsys.readouterr().err
    assert sentence in err
    assert "Traceback" not in err


def test_without_the_extra_the_command_that_installs_it_is_named(
    model: Path, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    monkeypatch.setattr(sys, "argv", ["langchain-softprompt", *_arguments(model, "--no-baseline")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert "Evaluation needs scikit-learn. Install it: pip install 'langchain-softprompt[eval]'." in capsys.readouterr().err


def test_help_mentions_each_option_with_a_word_on_it() -> None:
    result = CliRunner().invoke(app, ["evaluate", "--help"], env={"COLUMNS": "220", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0
    renamed = {"input_field": "--input", "other_model": "--allow-other-model", "soft_prompts": "SOFT_PROMPT"}
    for name, parameter in inspect.signature(evaluate, eval_str=True).parameters.items():
        assert renamed.get(name, f"--{name.replace('_', '-')}") in result.stdout
        assert parameter.annotation.__metadata__[0].help.split()[0] in result.stdout


def test_the_command_line_loads_no_torch_before_it_knows_what_to_do() -> None:
    import subprocess

    code = "import sys; from langchain_softprompt.cli.app import app; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def trained(model: Path, files: Path) -> Path:
    """A soft prompt that was trained on all rows of learned.jsonl."""
    Path("learned.jsonl").write_text("\n".join(map(json.dumps, [*ROWS, *TRAIN])))
    frozen = FrozenModel.load(model, dtype="float32", device="cpu")
    settings = TrainingSettings(max_steps=4, batch_size=4, learning_rate=0.1)
    train(frozen, PROMPT, [*ROWS, *TRAIN], [], target="label", settings=settings).save(files / "prompts" / "trained")
    return files / "prompts" / "trained"


def test_few_rows_it_was_trained_on_are_judged_by_folds_trained_as_it_was(model: Path, trained: Path) -> None:
    """Free answers of the folds are exact as often as cross_validate() itself finds them, and say so beside the baselines."""
    chosen = _arguments(model, "--json", "--metric", "exact_match", soft=("prompts/trained",), data="learned.jsonl")
    result = CliRunner().invoke(app, chosen)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert _names(found) == ["trained, 5 folds", "hard prompt", "hard prompt + 5 examples"]  # it started as the hard prompt
    assert found["left_out"]["trained"] == "it was trained on these rows; its folds stand for it"
    assert found["settings"]["folds"] == 5
    frozen = FrozenModel.load(model, dtype="float32", device="cpu")
    settings = TrainingSettings(max_steps=4, batch_size=4, learning_rate=0.1)
    expected = cross_validate(frozen, PROMPT, [*ROWS, *TRAIN], target="label", settings=settings)
    assert found["arms"][0]["scores"]["exact_match"]["value"] == pytest.approx(expected.exact_match)
    assert {gap["arm"] for gap in found["gaps"]} == {"trained, 5 folds"}


def test_folds_on_other_rows_stand_beside_the_soft_prompt_itself(model: Path, trained: Path) -> None:
    found = _json(model, "--folds", "2", "--no-baseline", soft=("prompts/trained",))
    assert _names(found) == ["trained", "trained, 2 folds"]


def test_rows_it_was_trained_on_without_folds_come_with_a_warning(model: Path, trained: Path) -> None:
    result = CliRunner().invoke(app, _arguments(model, "--folds", "0", "--no-baseline", soft=("prompts/trained",), data="learned.jsonl"))
    assert result.exit_code == 0
    assert "All of the rows that trained was trained on are among these: its scores say little about new ones." in result.stderr


@pytest.mark.parametrize(
    ("more", "soft", "words"),
    [
        (("--folds", "1"), "prompts/trained", "folds: 1 would leave nothing to train on"),
        (("--folds", "3"), "prompts/one", "folds: one does not say how it was trained"),
        (("--folds", "3", "--record"), "prompts/trained", "record: scores of folds are those of other soft prompts"),
        (("--folds", "15"), "prompts/trained", "folds"),
    ],
)
def test_folds_that_can_not_be_are_refused_in_a_sentence(
    model: Path,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    soft: str,
    words: str,
) -> None:
    arguments = _arguments(model, *more, soft=(soft,), data="learned.jsonl")
    monkeypatch.setattr(sys, "argv", ["langchain-softprompt", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert words in " ".join(capsys.readouterr().err.split())
