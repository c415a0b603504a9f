"""The page of a run: what a reader who was not there learns from it, and that it draws no false conclusion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from langchain_softprompt.data import digest_rows
from langchain_softprompt.errors import TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import BaseModelRecord, DataRecord, Manifest, SoftPrompt
from langchain_softprompt.testing import tiny_model
from langchain_softprompt.training import Distillation, Nobody, RunFolder, StepReport, cross_validate, distill, train
from langchain_softprompt.training.objectives import Imitation
from langchain_softprompt.training.report import run_report
from langchain_softprompt.training.teacher import Teacher
from tests.unit_tests.reports.reading import Markup
from tests.unit_tests.training.learning import PROMPT, ROWS, VALIDATION
from tests.unit_tests.training.test_distill import LONG, TEXTS

# Too high a rate, so that the last step is not the best.
_DISTIL = TrainingSettings(max_steps=12, batch_size=3, learning_rate=0.5, virtual_tokens=10, patience=None, save_every=4, select_by="loss")
_TEST = [{**row, "home": "farm"} for row in TEXTS[:3]]
_HELD_OUT = 1


class Killed(BaseException):
    """Nothing catches it, so that nothing is tidied up."""


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


def _words(html: str) -> str:
    return " ".join(" ".join(Markup(html).texts).split())


def _page(folder: Path) -> str:
    return _words((folder / "report.html").read_text("utf-8"))


def _distil(model: FrozenModel, folder: Path, **more: Any) -> Distillation:
    settings = more.pop("settings", _DISTIL)
    return distill(model, LONG, TEXTS, settings=settings, max_answer_tokens=4, output=folder, **more)


@pytest.fixture(scope="module")
def distilled(model: FrozenModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Distillation]:
    folder = tmp_path_factory.mktemp("distilled") / "run"
    return folder, _distil(model, folder, test=_TEST, target="home")


def test_a_distillations_page_tells_what_it_saves_and_how_near_it_came(distilled: tuple[Path, Distillation]) -> None:
    folder, made = distilled
    page = _page(folder)
    assert (
        f"A long prompt of {made.prompt_tokens} tokens became a soft prompt of 10 virtual tokens, {made.prompt_tokens - 10} fewer" in page
    )
    assert f"KL divergence from the long prompt went from {made.initial_kl:.3f} to {made.kl:.3f} nats a token" in page
    assert f"exactly as with the long prompt from {made.initial_agreement:.1%} to {made.agreement:.1%}" in page
    assert f"The first token takes {made.soft_seconds * 1e3:.1f} ms with it, and {made.prompt_seconds * 1e3:.1f} ms with the long" in page
    right = made.tested["prompt_exact_match"], made.tested["soft_exact_match"]
    assert f"On 3 rows with answers the long prompt is exactly right on {right[0]:.1%} and the soft prompt on {right[1]:.1%}." in page
    assert f"texts {len(TEXTS)} of these held out {_HELD_OUT}" in page


def test_a_distillations_page_calls_kl_cross_entropy_and_agreement_by_their_names(distilled: tuple[Path, Distillation]) -> None:
    page = _page(distilled[0])
    assert "KL on this step's texts cross-entropy on the long prompt's answers, held out same answer, held out" in page
    for said_of_a_training in ("training loss", "validation loss", "exact match", "answers that are exactly right"):
        assert said_of_a_training not in page


@torch.no_grad()
def test_best_and_last_are_stored_each_with_its_own_kl_and_agreement(model: FrozenModel, distilled: tuple[Path, Distillation]) -> None:
    folder, made = distilled
    teacher = Teacher(model, LONG)
    lessons = teacher.teach(TEXTS, max_tokens=4)[:_HELD_OUT]
    held = Imitation(model, [lesson.example for lesson in lessons], teacher.distributions(lessons))
    kls = {}
    for name in ("initial", "best", "last"):
        stored = SoftPrompt.load(folder / name)
        kls[name] = float(held.divergences(compile_prefix(model, stored), [0]).mean())
        if stored.manifest is not None:
            scores = stored.manifest.scores
            assert scores["kl"] == pytest.approx(kls[name], abs=1e-5)
            assert scores["initial_kl"] == pytest.approx(kls["initial"], abs=1e-3), "stored in float16, measured before that"
            assert {"agreement", "initial_agreement"} <= set(scores)
    assert len({round(kl, 3) for kl in kls.values()}) == 3, "equal ones would prove nothing"
    assert made.kl == pytest.approx(kls["best"], abs=1e-5)


def test_killed_and_gone_on_with_it_ends_with_the_same_record_and_a_page_that_tells_it(
    model: FrozenModel, distilled: tuple[Path, Distillation], tmp_path: Path
) -> None:
    class Kill(Nobody):
        def on_step(self, report: StepReport) -> None:
            if report.step == 6:
                raise Killed

    with pytest.raises(Killed):
        _distil(model, tmp_path / "killed", watcher=Kill())
    assert not (tmp_path / "killed" / "report.html").exists()
    _distil(model, tmp_path / "killed", resume=True, test=_TEST, target="home")
    for name in ("best", "last"):
        ours, theirs = SoftPrompt.load(tmp_path / "killed" / name), SoftPrompt.load(distilled[0] / name)
        assert ours.content_hash == theirs.content_hash
        assert ours.manifest is not None
        assert theirs.manifest is not None
        assert ours.manifest.scores == theirs.manifest.scores
    page, made = _page(tmp_path / "killed"), distilled[1]
    assert f"KL divergence from the long prompt went from {made.initial_kl:.3f} to {made.kl:.3f} nats a token" in page
    assert "On 3 rows with answers" in page
    assert "was stopped" not in page


def test_without_rows_with_answers_the_page_says_how_to_score_them(model: FrozenModel, tmp_path: Path) -> None:
    made = _distil(model, tmp_path / "run", settings=_DISTIL.override(max_steps=1))
    page = _page(tmp_path / "run")
    assert "Whether its answers are right was not measured; distill --resume with --test and --target does that." in page
    assert "rows with answers" not in page
    assert not made.tested


def test_rows_to_test_on_are_checked_before_anything_is_learned(model: FrozenModel, tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="test rows: row 1: field 'away': expected text"):
        _distil(model, tmp_path / "run", test=_TEST, target="away")
    assert not (tmp_path / "run").exists()


def test_a_distillation_stopped_before_its_first_look_is_said_to_be_and_nothing_else_is_concluded(
    model: FrozenModel, tmp_path: Path
) -> None:
    class PressCtrlC(Nobody):
        def on_step(self, report: StepReport) -> None:
            raise KeyboardInterrupt

    _distil(model, tmp_path / "run", watcher=PressCtrlC(), settings=_DISTIL.override(evaluate_every=9))
    page = _page(tmp_path / "run")
    assert "The run was stopped before its end" in page
    assert "No step was nearer" not in page
    assert "The run was stopped before the first look." in page


@pytest.mark.parametrize("early", [True, False])
def test_a_run_stopped_before_any_better_step_draws_no_conclusion_and_a_finished_one_does(early: bool) -> None:
    training = {"best_step": 0, "steps_done": 2, "max_steps": 2, "seconds": 1.0}
    names = ("initial_validation_loss", "validation_loss", "initial_validation_exact_match", "validation_exact_match")
    manifest = Manifest(
        base_model=BaseModelRecord(id="tiny", fingerprint="0" * 64),
        method="kv-prefix",
        training=training,
        scores=dict.fromkeys(names, 0.5),
        data=DataRecord(digest=digest_rows(TEXTS), rows=40, validation_rows=4),
    )
    soft_prompt = SoftPrompt.of_key_values(torch.ones(8, 2, 2, 1, 4))
    log = [{"step": 1, "loss": 1.0, "validation_loss": 0.6, "validation_exact_match": 0.5, "learning_rate": 0.1}]
    told = SoftPrompt(soft_prompt.config, soft_prompt.tensors, manifest=manifest)
    page = _words(run_report(told, log, finished="" if early else "all steps done").to_html())
    assert ("No step was better than the start" in page) is not early
    assert ("The run was stopped before its end" in page) is early


def _told(kl: float, *, initial_kl: float = 2.0, best_step: int = 30, learned: float = 0.35, agreement: float = 0.75) -> str:
    """The page of a distillation that came to these numbers; its cross-entropy is ten times its KL in training."""
    entry = {"loss": learned, "validation_loss": 10 * learned, "validation_exact_match": agreement, "learning_rate": 0.1}
    scores = {"kl": kl, "initial_kl": initial_kl, "agreement": agreement, "initial_agreement": 0.25, "validation_loss": 10 * learned}
    manifest = Manifest(
        base_model=BaseModelRecord(id="tiny", fingerprint="0" * 64),
        method="distilled kv-prefix",
        training={"teacher_tokens": 80, "best_step": best_step, "steps_done": 40, "max_steps": 40, "seconds": 60.0},
        scores=scores,
        data=DataRecord(digest=digest_rows(TEXTS), rows=40, validation_rows=4),
    )
    soft_prompt = SoftPrompt.of_key_values(torch.ones(8, 2, 2, 1, 4))
    told = SoftPrompt(soft_prompt.config, soft_prompt.tensors, manifest=manifest)
    return _words(run_report(told, [{"step": step, **entry} for step in range(1, 41)], finished="all steps done").to_html())


def test_learning_by_heart_is_concluded_from_two_kls_and_never_from_a_kl_and_a_cross_entropy() -> None:
    assert "by heart" not in _told(kl=0.4)
    assert "KL on texts it learns from (0.350) is far below that on texts held out (1.400): it learns texts by heart" in _told(kl=1.4)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"kl": 0.4}, "it is nearer to the long prompt than it was before the first step"),
        ({"kl": 2.5}, "By KL (2.000, then 2.500) it is no nearer to the long prompt"),
        ({"kl": 2.0, "best_step": 0}, "No step was nearer to the long prompt than the start"),
        ({"kl": 0.4, "best_step": 40}, "The last step was the best"),
        ({"kl": 0.4, "agreement": 0.25}, "Only 25.0% of the texts held out are answered word for word"),
    ],
)
def test_what_is_concluded_of_a_distillation_is_what_its_numbers_say(numbers: dict[str, Any], said: str) -> None:
    everything = "nearer to the long prompt than it was", "it is no nearer", "No step was nearer", "The last step", "Only 25.0%"
    page = _told(**numbers)
    assert said in page
    if said.startswith(("it is", "By KL", "No step")):
        assert sum(words in page for words in everything) == 1


def test_what_folds_said_is_in_the_manifest_and_on_the_page(model: FrozenModel, tmp_path: Path) -> None:
    settings = TrainingSettings(max_steps=2, batch_size=2, learning_rate=0.05)
    found = cross_validate(model, PROMPT, ROWS, target="label", count=3, settings=settings)
    train(model, PROMPT, ROWS, [], target="label", settings=settings, output=tmp_path / "run", facts=found.facts())
    for name in ("best", "last"):
        training = json.loads((tmp_path / "run" / name / "soft_prompt.json").read_text("utf-8"))["training"]
        assert found.facts().items() <= training.items()
    page = _page(tmp_path / "run")
    expected = f"3 folds say what to expect on new rows: about {found.exact_match:.1%} exact answers (standard error "
    assert page.count(f"{expected}{found.standard_error:.1%}).") == 2, "in the summary, and in a section of its own"
    assert "Folds: what to expect on new rows" in page
    assert "folds_exact_match" not in page, "told once, in words, and not among the settings too"


def test_each_fold_is_a_row_of_the_page(model: FrozenModel, tmp_path: Path) -> None:
    facts = {"folds": 2, "folds_exact_match": 0.5, "folds_standard_error": 0.25, "fold_1_exact_match": 0.25, "fold_2_exact_match": 0.75}
    settings = TrainingSettings(max_steps=1, learning_rate=0.05)
    train(model, PROMPT, ROWS, [], target="label", settings=settings, output=tmp_path / "run", facts=facts)
    assert "fold exact match 1 0.250 2 0.750" in _page(tmp_path / "run")


def test_a_run_without_folds_says_nothing_of_them(model: FrozenModel, tmp_path: Path) -> None:
    train(model, PROMPT, ROWS, VALIDATION, target="label", settings=TrainingSettings(max_steps=2, learning_rate=0.05), output=tmp_path)
    page = _page(tmp_path)
    assert "fold" not in page.lower()
    assert "On the validation rows the loss went from" in page
    assert len(RunFolder(tmp_path).entries()) == 2
