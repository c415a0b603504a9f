"""One look at everything: every type of soft prompt, models that lack something, and what of it is told."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from langchain_softprompt.errors import InvalidSettingsError, ModelMismatchError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.inspection import SECTIONS, Inspection, inspect_soft_prompt
from langchain_softprompt.inspection.report import report_page
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.testing import tiny_model
from tests.tiny import frozen
from tests.unit_tests.inspection.looking import ROWS, about, made_by_peft, of_rows, random_key_values, random_rows
from tests.unit_tests.reports.reading import Markup
from tests.unit_tests.soft_prompt.peft_folders import KINDS
from tests.unit_tests.soft_prompt.peft_folders import frozen as without_tokenizer


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


@pytest.fixture(scope="module")
def whole(model: FrozenModel) -> Inspection:
    return inspect_soft_prompt(model, random_key_values(model, manifest=about(model)), ROWS, target="label", max_answer_tokens=6)


def _there(inspection: Inspection) -> set[str]:
    return {name for name in SECTIONS if getattr(inspection, name) is not None}


def test_nothing_is_left_out_where_everything_is_there(whole: Inspection) -> None:
    assert _there(whole) == set(SECTIONS)
    assert whole.left_out == {}
    assert whole.samples == "4 rows of the data, with the wanted answers"


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_that_peft_writes_is_inspected(kind: str, tmp_path: Path) -> None:
    on = frozen("Llama")
    found = inspect_soft_prompt(on, made_by_peft(tmp_path, kind, on), ROWS[:2], input_field="text", max_answer_tokens=3)
    assert _there(found) == set(SECTIONS) - {"drift"}
    assert list(found.left_out) == ["drift"]
    assert found.identity.same_model is None
    assert (found.norms.embeddings is None) == kind.startswith(("PREFIX", "CARTRIDGE"))  # type: ignore[union-attr]
    assert found.ablation is not None
    assert found.ablation.how == "left out"


@pytest.mark.parametrize("family", ["Lfm2", "Jamba"])
def test_a_model_that_does_without_keys_and_values_is_inspected_as_far_as_it_goes(family: str) -> None:
    on = frozen(family)
    found = inspect_soft_prompt(on, random_rows(on), ROWS[:2], input_field="text", max_answer_tokens=3)
    assert _there(found) == set(SECTIONS) - {"drift", "attention"}
    assert "not all its layers attend" in found.left_out["attention"]
    assert found.ablation is not None
    assert "averaged only" in found.ablation.note
    assert Markup(report_page(found).to_html()).tags.count("section") == 7


def test_a_model_without_a_tokenizer_shows_what_needs_no_text() -> None:
    on = without_tokenizer("llama")
    found = inspect_soft_prompt(on, random_rows(on))
    assert _there(found) == {"identity", "norms"}
    assert all("without a tokenizer" in found.left_out[name] for name in ("ablation", "influence", "attention", "description", "nearest"))


def test_a_quick_inspection_asks_the_model_nothing(model: FrozenModel) -> None:
    found = inspect_soft_prompt(model, random_key_values(model, manifest=about(model)), quick=True)
    assert _there(found) == {"identity", "norms", "drift"}
    assert found.left_out["nearest"] == "only a quick inspection was asked for"
    assert found.samples == ""


def test_without_labels_the_soft_prompts_own_answers_are_what_is_right(model: FrozenModel) -> None:
    found = inspect_soft_prompt(model, random_key_values(model, manifest=about(model)), ROWS, max_answer_tokens=4)
    assert found.ablation is not None
    assert found.ablation.right == 1


def test_it_is_taken_apart_on_the_first_rows_only(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model, manifest=about(model))
    found = inspect_soft_prompt(model, soft_prompt, ROWS, target="label", max_answer_tokens=3, ablation_rows=2)
    assert found.ablation is not None
    assert found.ablation.samples == 2
    assert found.influence is not None
    assert len(found.influence.inputs) == 4


def test_identity_says_what_the_files_say(model: FrozenModel) -> None:
    manifest = about(model, description="Says where it lives.", created="2026-11-25", scores={"validation_loss": 0.25})
    soft_prompt = random_key_values(model, count=3, manifest=manifest)
    identity = inspect_soft_prompt(model, soft_prompt, quick=True).identity
    assert (identity.kind, identity.holds, identity.virtual_tokens, identity.dtype) == ("PREFIX_TUNING", "keys and values", 3, "float32")
    assert identity.parameters == 3 * model.num_layers * 2 * 2 * 8
    assert identity.stored_bytes == 4 * identity.parameters
    assert identity.compiled_bytes == compile_prefix(model, soft_prompt).num_bytes
    assert identity.compile_seconds > 0
    assert identity.content_hash == soft_prompt.content_hash
    assert (identity.same_model, identity.made_for, identity.method) == (True, "tiny", "kv-prefix")
    assert identity.hard_prompt == ("system: Say where the animal lives.", "human: Animal: {text}")
    assert identity.scores == {"validation_loss": 0.25}
    assert identity.training == {"target": "label", "init": "hard-prompt"}
    assert identity.reading.startswith(
        "3 virtual tokens, kept as keys and values of every layer, 0.8 KiB. It was made for this very model."
    )


def test_a_soft_prompt_of_another_model_is_refused_unless_asked_for(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model, manifest=about(tiny_model(seed=3)))
    with pytest.raises(ModelMismatchError):
        inspect_soft_prompt(model, soft_prompt, quick=True)
    found = inspect_soft_prompt(model, soft_prompt, ROWS[:2], max_answer_tokens=3, allow_other_model=True)
    assert found.identity.same_model is False
    assert "another model" in found.identity.reading
    assert _there(found) == set(SECTIONS)


def test_a_strangers_broken_hard_prompt_stops_nothing(model: FrozenModel) -> None:
    manifest = about(model, hard_prompt=[{"role": "human", "template": "{text!r}"}], method="made up")
    found = inspect_soft_prompt(model, random_key_values(model, manifest=manifest), ROWS[:2], max_answer_tokens=3)
    assert _there(found) == set(SECTIONS) - {"drift"}
    assert found.influence is not None
    assert found.influence.from_hard_prompt is None
    assert found.description is not None
    assert found.description.hard_prompt is None


def test_numbers_out_of_range_are_refused(model: FrozenModel) -> None:
    for name in ("max_answer_tokens", "ablation_rows"):
        with pytest.raises(InvalidSettingsError, match=f"{name}: expected at least 1, found 0"):
            inspect_soft_prompt(model, random_key_values(model), **{name: 0})  # type: ignore[arg-type]


def test_progress_is_told_part_by_part_up_to_the_last(model: FrozenModel) -> None:
    told: dict[str, tuple[int, int]] = {}
    inspect_soft_prompt(
        model, random_rows(model), max_answer_tokens=3, on_progress=lambda what, done, total: told.update({what: (done, total)})
    )
    assert list(told) == ["answers", "ablation", "influence", "attention", "description"]
    assert all(done == total for done, total in told.values())


def test_all_of_it_is_plain_json_with_a_reading_in_each_section(whole: Inspection) -> None:
    facts = json.loads(json.dumps(whole.to_json(), allow_nan=False))
    for name in SECTIONS:
        assert facts[name]["reading"] == getattr(whole, name).reading
        for field in dataclasses.fields(getattr(whole, name)):
            assert field.name in facts[name]
    assert facts["nearest"]["note"].startswith("Not an explanation")
    assert facts["ablation"]["tokens"][0]["change"]["shown"] in {True, False}


def test_what_is_not_finite_becomes_null() -> None:
    on = tiny_model()
    flat = inspect_soft_prompt(on, of_rows(random_rows(on).tensors["prompt_embeddings"] * 0), quick=True)
    assert flat.norms is not None
    broken = dataclasses.replace(flat.norms, layers=(dataclasses.replace(flat.norms.layers[0], real_key=0.0),))
    facts = json.loads(json.dumps(dataclasses.replace(flat, norms=broken).to_json(), allow_nan=False))
    assert facts["norms"]["layers"][0]["key_ratio"] is None


def test_the_page_has_a_section_a_part_and_says_what_is_no_explanation(whole: Inspection) -> None:
    html = report_page(whole, command="langchain-softprompt inspect x").to_html()
    markup = Markup(html)
    words = " ".join(markup.texts)
    assert markup.tags.count("section") == len(SECTIONS) + 1
    assert markup.tags.count("figure") == 6
    for said in (
        "Not an explanation",
        "Where the model looks, not why",
        "langchain-softprompt inspect x",
        "blue whale",
        whole.influence.reading,
    ):  # type: ignore[union-attr]
        assert said in words


def test_the_page_of_a_quick_look_says_what_was_left_out(model: FrozenModel) -> None:
    words = " ".join(Markup(report_page(inspect_soft_prompt(model, random_rows(model), quick=True)).to_html()).texts)
    assert "Only a quick inspection was asked for." in words
    assert "It does not say for which weights it was made" in words


def test_without_matplotlib_the_page_is_made_all_the_same(whole: Inspection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    markup = Markup(report_page(whole).to_html())
    assert "figure" not in markup.tags
    assert "pip install 'langchain-softprompt[plots]'" in " ".join(markup.texts)
