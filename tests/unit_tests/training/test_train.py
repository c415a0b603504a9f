"""train(): a hard prompt and rows in, a soft prompt that says how it was made out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from langchain_softprompt import __version__
from langchain_softprompt.data.examples import instruction_ids
from langchain_softprompt.errors import FrozenModelError, TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import tiny_model
from langchain_softprompt.training import HardPrompt, StepReport, train
from langchain_softprompt.training.learners import _storable
from langchain_softprompt.training.starts import start_ids
from tests.tiny import NATIVE, frozen
from tests.unit_tests.training.learning import PROMPT, ROWS, VALIDATION, examples, one_shot_loss, served_loss

_SETTINGS = TrainingSettings(max_steps=12, batch_size=3, learning_rate=0.05, evaluate_every=4, seed=5)


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model(name="acme/tiny")


@pytest.fixture(scope="module")
def trained(model: FrozenModel) -> SoftPrompt:
    return train(model, PROMPT, ROWS, VALIDATION, target="label", settings=_SETTINGS, description="Homes.", source="made up", licence="CC0")


def test_the_scores_are_the_hard_prompts_loss_and_a_lower_one(model: FrozenModel, trained: SoftPrompt) -> None:
    assert trained.manifest is not None
    scores = trained.manifest.scores
    assert scores["initial_validation_loss"] == pytest.approx(one_shot_loss(model, VALIDATION), abs=1e-4)
    assert scores["validation_loss"] < scores["initial_validation_loss"]


def test_the_stored_soft_prompt_serves_with_the_loss_it_was_chosen_for(model: FrozenModel, trained: SoftPrompt, tmp_path: Path) -> None:
    """Saved, loaded and served; 2e-3 is what storing in float16 costs here."""
    loaded = SoftPrompt.load(trained.save(tmp_path / "homes"))
    assert loaded.content_hash == trained.content_hash
    assert loaded.manifest is not None
    loss = served_loss(model, compile_prefix(model, loaded), examples(model, VALIDATION))
    assert loss == pytest.approx(loaded.manifest.scores["validation_loss"], abs=2e-3)


def test_it_is_a_prefix_as_long_as_the_instructions(model: FrozenModel, trained: SoftPrompt) -> None:
    assert trained.kind == "PREFIX_TUNING"
    assert trained.num_virtual_tokens == len(instruction_ids(model, PROMPT))
    assert {tensor.dtype for tensor in trained.tensors.values()} == {torch.float16}


def test_the_manifest_says_how_it_was_made(model: FrozenModel, trained: SoftPrompt) -> None:
    manifest = trained.manifest
    assert manifest is not None
    assert (manifest.base_model.id, manifest.base_model.revision) == ("acme/tiny", None)
    assert manifest.base_model.fingerprint == model.fingerprint
    assert (manifest.method, manifest.description, manifest.package_version) == ("kv-prefix", "Homes.", __version__)
    assert tuple(manifest.hard_prompt) == PROMPT.messages
    assert tuple(manifest.input_messages) == PROMPT.inputs
    assert manifest.drop_default_system
    assert manifest.seeds == [5]
    assert manifest.data is not None
    assert (manifest.data.rows, manifest.data.validation_rows) == (len(ROWS), len(VALIDATION))
    assert (manifest.data.source, manifest.data.licence) == ("made up", "CC0")
    assert manifest.training["max_steps"] == manifest.training["steps_done"] == 12
    assert manifest.training["best_step"] in {4, 8, 12}


def test_the_digest_is_that_of_the_rows(model: FrozenModel, trained: SoftPrompt) -> None:
    def digest(rows: list[dict[str, str]]) -> str:
        made = train(model, PROMPT, rows, VALIDATION, target="label", settings=TrainingSettings(max_steps=1, learning_rate=1e-3))
        assert made.manifest is not None
        assert made.manifest.data is not None
        return made.manifest.data.digest

    assert trained.manifest is not None
    assert trained.manifest.data is not None
    assert digest(ROWS) == digest([dict(reversed(row.items())) for row in ROWS]) == trained.manifest.data.digest
    assert digest(ROWS[:-1]) != trained.manifest.data.digest


def test_one_seed_trains_the_same_soft_prompt(model: FrozenModel, trained: SoftPrompt) -> None:
    assert train(model, PROMPT, ROWS, VALIDATION, target="label", settings=_SETTINGS).content_hash == trained.content_hash


def test_a_shorter_prefix_takes_the_first_instruction_tokens_and_a_longer_one_repeats_them(model: FrozenModel) -> None:
    ids = instruction_ids(model, PROMPT)
    assert start_ids(model, ids, TrainingSettings(virtual_tokens=3)) == ids[:3]
    assert start_ids(model, ids, TrainingSettings(virtual_tokens=len(ids) + 2)) == ids + ids[:2]
    short = train(
        model, PROMPT, ROWS, VALIDATION, target="label", settings=TrainingSettings(max_steps=1, learning_rate=1e-3, virtual_tokens=3)
    )
    assert short.num_virtual_tokens == 3


@pytest.mark.parametrize(("rows", "validation", "named"), [([], VALIDATION, "made up")])
def test_empty_data_is_refused_before_anything_runs(
    model: FrozenModel, rows: list[dict[str, str]], validation: list[dict[str, str]], named: str
) -> None:
    with pytest.raises(TrainingDataError, match=f"{named}: holds no rows"):
        train(model, PROMPT, rows, validation, target="label", source="made up")


def test_a_target_that_no_row_has_is_named(model: FrozenModel) -> None:
    with pytest.raises(TrainingDataError, match="training data: row 1: field 'intent'"):
        train(model, PROMPT, ROWS, VALIDATION, target="intent")


@pytest.mark.parametrize("family", NATIVE[:2])
def test_a_model_that_can_not_continue_from_keys_and_values_is_refused(family: str) -> None:
    with pytest.raises(FrozenModelError, match="load-time self-test failed"):
        train(frozen(family), PROMPT, ROWS, VALIDATION, target="label")


@pytest.mark.parametrize("shapes", [((2, 8, 8), (1, 8, 8)), ((2, 8, 4), (2, 8, 4))], ids=["across layers", "within a layer"])
def test_keys_and_values_that_pefts_format_can_not_hold_are_refused(shapes: tuple[tuple[int, int, int], ...]) -> None:
    model = tiny_model()
    model.__dict__["key_value_shapes"] = shapes
    with pytest.raises(FrozenModelError, match="different shapes"):
        train(model, PROMPT, ROWS, VALIDATION, target="label")


def test_an_interrupted_run_still_gives_its_best_soft_prompt(model: FrozenModel) -> None:
    def press_ctrl_c(report: StepReport) -> None:
        if report.step == 2:
            raise KeyboardInterrupt

    made = train(model, PROMPT, ROWS, VALIDATION, target="label", settings=_SETTINGS.override(evaluate_every=1), on_step=press_ctrl_c)
    assert made.manifest is not None
    assert made.manifest.training["steps_done"] == 2
    assert made.manifest.scores["validation_loss"] < made.manifest.scores["initial_validation_loss"]


def test_float16_is_left_where_a_number_would_not_fit_it() -> None:
    assert _storable(torch.tensor([1.0, 65_000.0])).dtype == torch.float16
    assert torch.equal(_storable(torch.tensor([1.0, 1e6])), torch.tensor([1.0, 1e6]))


def test_a_template_in_which_the_soft_prompt_stands_for_several_system_messages(model: FrozenModel) -> None:
    prompt = HardPrompt.from_pairs([("system", "One."), ("system", "Two."), ("human", "{text}")])
    made = train(model, prompt, ROWS, VALIDATION, target="label", settings=TrainingSettings(max_steps=1, learning_rate=1e-3))
    assert made.num_virtual_tokens == len(instruction_ids(model, prompt))
    assert made.manifest is not None
    assert [message.role for message in made.manifest.input_messages] == ["human"]
