"""A run that is killed and gone on with ends as one that never stopped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_softprompt.errors import FrozenModelError, RunFolderError, TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model, tiny_model
from langchain_softprompt.training import Nobody, RunFolder, StepReport, train
from tests.unit_tests.training.learning import INSTRUCTIONS, PROMPT, ROWS, VALIDATION
from tests.unit_tests.training.stopping import Killed, Stopper, kill_once_there

_SETTINGS = TrainingSettings(max_steps=9, batch_size=2, evaluate_every=2, save_every=3, seed=4)


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


def _train(model: FrozenModel, folder: Path, *, resume: bool = False, watcher: Nobody | None = None, **changes: object) -> SoftPrompt:
    options = _SETTINGS.override(**changes)
    return train(model, PROMPT, ROWS, VALIDATION, target="label", settings=options, output=folder, resume=resume, watcher=watcher)


def _same(one: Path, other: Path) -> None:
    """Bit for bit: the soft prompts, the optimiser's state, and the log but for its times."""
    for name in ("initial", "best", "last"):
        assert SoftPrompt.load(one / name).content_hash == SoftPrompt.load(other / name).content_hash
    ours, theirs = (RunFolder(folder).state() for folder in (one, other))
    assert ours is not None
    assert theirs is not None
    assert ours.tensors.keys() == theirs.tensors.keys()
    assert all(torch.equal(tensor, theirs.tensors[name]) for name, tensor in ours.tensors.items())
    assert (ours.losses, ours.best, ours.best_step, ours.tried) == (theirs.losses, theirs.best, theirs.best_step, theirs.tried)
    assert _log(one) == _log(other)


def _log(folder: Path) -> list[dict[str, object]]:
    return [{name: value for name, value in entry.items() if name != "seconds"} for entry in RunFolder(folder).entries()]


@pytest.fixture(scope="module")
def whole(model: FrozenModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    _train(model, folder)
    return folder


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=st.lists(st.integers(min_value=1, max_value=12), min_size=1, max_size=4))
def test_killed_at_any_moments_it_ends_with_the_same_tensors(
    model: FrozenModel, whole: Path, tmp_path_factory: pytest.TempPathFactory, moments: list[int]
) -> None:
    """Moments fall into the search for the learning rate and into the steps, between two saved states and on them."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    for number, moment in enumerate(moments):
        try:
            _train(model, folder, resume=number > 0, watcher=Stopper(moment))
        except Killed:
            continue
    _train(model, folder, resume=True)
    _same(folder, whole)


@pytest.mark.parametrize("method", ["prompt-tuning", "kv-prefix"])
def test_every_method_can_be_gone_on_with(model: FrozenModel, tmp_path: Path, method: str) -> None:
    residual = method == "prompt-tuning"
    _train(model, tmp_path / "whole", method=method, residual=residual)
    with pytest.raises(Killed):
        _train(model, tmp_path / "killed", method=method, residual=residual, watcher=Stopper(8))
    _train(model, tmp_path / "killed", method=method, residual=residual, resume=True)
    _same(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("name", ["best", "last", "initial"])
def test_killed_while_its_soft_prompts_are_written_it_writes_them_again(model: FrozenModel, whole: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    _train(model, folder)
    (folder / name / "adapter_model.safetensors").write_bytes(b"torn")
    if name == "initial":  # Written at the start alone.
        (folder / "state.safetensors").unlink()
    _train(model, folder, resume=True)
    _same(folder, whole)


def test_a_torn_last_line_of_the_log_and_a_torn_new_state_are_nothing(model: FrozenModel, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        _train(model, folder, watcher=Stopper(9))
    with (folder / "log.jsonl").open("a") as log:
        log.write('{"step": 7, "los')
    (folder / ".state.safetensors.new").write_bytes(b"half a st")
    _train(model, folder, resume=True)
    _same(folder, whole)


def test_ctrl_c_saves_and_the_rest_of_the_run_is_the_same(model: FrozenModel, whole: Path, tmp_path: Path) -> None:
    class PressCtrlC(Nobody):
        def on_step(self, report: StepReport) -> None:
            if report.step == 5:
                raise KeyboardInterrupt

    folder = tmp_path / "run"
    made = _train(model, folder, watcher=PressCtrlC())
    assert made.manifest is not None
    assert made.manifest.training["steps_done"] == 5
    assert SoftPrompt.load(folder).content_hash == made.content_hash, "a run folder stands for its best soft prompt"
    _train(model, folder, resume=True)
    _same(folder, whole)


def test_a_finished_run_gone_on_with_changes_nothing(model: FrozenModel, whole: Path) -> None:
    before = {file: file.read_bytes() for file in whole.rglob("*.safetensors")}
    _train(model, whole, resume=True)
    assert {file: file.read_bytes() for file in whole.rglob("*.safetensors")} == before


def test_a_run_that_went_astray_after_its_best_step_keeps_that(model: FrozenModel, tmp_path: Path) -> None:
    """Numbers that are none, as a far too high learning rate makes them, must not cost the best step."""
    folder = tmp_path / "run"
    made = _train(model, folder)
    state = RunFolder(folder).state()
    assert state is not None
    state.keep("parameter", {"key_values": torch.full_like(state.tensors["parameter.key_values"], torch.nan)})
    state.save(folder / "state.safetensors")
    shutil.rmtree(folder / "last")
    assert _train(model, folder, resume=True).content_hash == made.content_hash
    assert not (folder / "last").exists()
    with pytest.raises(FrozenModelError, match="lower learning rate"):
        train(model, PROMPT, ROWS, VALIDATION, target="label", settings=_SETTINGS, output=folder, resume=True, keep="last")


def _other_rows(model: FrozenModel, folder: Path) -> object:
    return train(model, PROMPT, ROWS[1:], VALIDATION, target="label", settings=_SETTINGS, output=folder, resume=True)


@pytest.mark.parametrize(
    ("go_on", "named"),
    [
        (lambda model, folder: _train(model, folder, resume=True, max_steps=10), "another settings"),
        (lambda _, folder: _train(tiny_model(seed=1), folder, resume=True), "another fingerprint"),
        (_other_rows, "another data"),
    ],
    ids=["settings", "model", "data"],
)
def test_a_run_is_not_gone_on_with_by_anything_else(
    model: FrozenModel, whole: Path, go_on: Callable[[FrozenModel, Path], object], named: str
) -> None:
    with pytest.raises(RunFolderError, match=named):
        go_on(model, whole)


def test_a_folder_in_use_holds_another_run_back(model: FrozenModel, whole: Path) -> None:
    with pytest.raises(RunFolderError, match="holds a run already"):
        _train(model, whole)
    (other := whole.parent / "other").mkdir()
    (other / "letter.txt").write_text("Dear")
    with pytest.raises(RunFolderError, match="holds other files"):
        _train(model, other)
    with pytest.raises(RunFolderError, match=r"is no run folder: it has no settings\.json"):
        _train(model, other, resume=True)


def test_two_processes_do_not_train_in_one_folder(model: FrozenModel, whole: Path) -> None:
    script = (
        f"from langchain_softprompt.training import RunFolder; folder = RunFolder.open({str(whole)!r}); print('in', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(RunFolderError, match="Another process is training"):
            _train(model, whole, resume=True)
        other.communicate("\n")
    _train(model, whole, resume=True)


@pytest.mark.parametrize("content", [b"", b"no state", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_state_that_can_not_be_read_is_said_to_be(model: FrozenModel, tmp_path: Path, content: bytes) -> None:
    _train(model, tmp_path / "run", max_steps=1)
    (tmp_path / "run" / "state.safetensors").write_bytes(content)
    with pytest.raises(RunFolderError, match="can't be read as the state of a run"):
        _train(model, tmp_path / "run", max_steps=1, resume=True)


def test_nothing_is_written_where_the_data_is_wrong(model: FrozenModel, tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError):
        train(model, PROMPT, [{"text": "cow"}], [], target="label", output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_killed_for_real_goes_on_with_the_folder_alone(tmp_path: Path) -> None:
    """SIGKILL from outside, as soon as a state is there; nothing but the folder is named afterwards."""
    save_tiny_model(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS * 40)))
    (tmp_path / "homes.json").write_text(
        json.dumps([{"role": "system", "template": INSTRUCTIONS}, {"role": "human", "template": "Animal: {text}"}])
    )
    command = [str(Path(sys.executable).parent / "langchain-softprompt"), "train"]
    new = ["--template", "homes.json", "--data", "rows.jsonl", "--target", "label", "--model", "model", "--steps", "120"]
    new += ["--batch-size", "4", "--learning-rate", "0.02", "--evaluate-every", "40"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *new, "--output", "whole"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    state = tmp_path / "killed" / "state.safetensors"
    kill_once_there(state, [*command, *new, "--output", "killed"], cwd=tmp_path, environment=environment, seconds=120)
    subprocess.run([*command, "--resume", "--output", "killed"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    _same(tmp_path / "killed", tmp_path / "whole")
