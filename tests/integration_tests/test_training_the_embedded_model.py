"""Training on the real model: a run that was killed ends with the tensors of one that was not, and its scores are the served ones."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.quality.tasks import TASKS
from langchain_softprompt.evaluation import EvaluationOptions, evaluate, soft_prompt_arm
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.training import train
from tests.unit_tests.training.stopping import kill_once_there

pytestmark = pytest.mark.slow
_ROOT = Path(__file__).parents[2] / "benchmarks"
_ROUTE = TASKS["banking77"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_killed_run_ends_with_the_same_tensors_bit_for_bit(tmp_path: Path, dtype: str) -> None:
    """SIGKILL as soon as there is a state, then ``--resume`` with nothing but the folder."""
    data = _ROOT / "data" / "banking77"
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f"{line}\n" for line in (data / "train.jsonl").read_text("utf-8").splitlines()[:240]))
    command = [str(Path(sys.executable).parent / "langchain-softprompt"), "train"]
    new = ["--template", str(_ROOT / "quality" / "templates" / "banking77.json"), "--data", str(rows), "--target", "label"]
    new += ["--validation", str(data / "validation.jsonl"), "--validation-rows", "16", "--dtype", dtype, "--steps", "26"]
    new += ["--batch-size", "4", "--learning-rate", "0.04", "--evaluate-every", "13"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(*arguments: str) -> None:
        subprocess.run([*command, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)

    run(*new, "--output", "whole")
    state = tmp_path / "killed" / "state.safetensors"
    kill_once_there(state, [*command, *new, "--output", "killed"], cwd=tmp_path, environment=environment, seconds=300)
    run("--resume", "--output", "killed")
    for name in ("best", "last"):
        whole, killed = (load_file(tmp_path / folder / name / "adapter_model.safetensors") for folder in ("whole", "killed"))
        assert whole.keys() == killed.keys()
        assert all(torch.equal(tensor, killed[key]) for key, tensor in whole.items()), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_validation_score_in_training_is_the_one_evaluate_gives(dtype: str) -> None:
    """Exact matches to the row in float32, to two of 100 in bfloat16, where another batch may break a tie otherwise; loss to 1e-4, 2e-2."""
    model = FrozenModel.load("embedded", dtype=dtype)
    watched = _ROUTE.rows("validation")[:100]
    settings = TrainingSettings(max_steps=40, batch_size=8, learning_rate=0.04, evaluate_every=20)
    made = train(model, _ROUTE.prompt(), _ROUTE.rows("train")[:400], watched, target=_ROUTE.target, settings=settings, probes=False)
    assert made.manifest is not None
    options = EvaluationOptions(answers="free", knowledge=False)
    judged = evaluate(model, [soft_prompt_arm(made)], watched, target=_ROUTE.target, metrics=["exact_match", "perplexity"], options=options)
    scores = {name: score.value for name, score in judged.arms[0].scores.items()}
    exact, loss = (0.0, 1e-4) if dtype == "float32" else (0.02, 2e-2)
    assert scores["exact_match"] > 0
    assert scores["exact_match"] == pytest.approx(made.manifest.scores["validation_exact_match"], abs=exact + 1e-9)
    assert math.log(scores["perplexity"]) == pytest.approx(made.manifest.scores["validation_loss"], abs=loss)
