"""Drift: how far from its start a soft prompt is, and where the start is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from langchain_softprompt.data import instruction_ids
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.inspection.drift import Drift, find_start, measure_drift
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import tiny_model
from tests.tiny import frozen
from tests.unit_tests.inspection.looking import PROMPT, about, of_key_values, of_rows, random_key_values, random_rows, text_prefix


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


def _drift(model: FrozenModel, soft_prompt: SoftPrompt, start: SoftPrompt) -> Drift:
    return measure_drift(model, soft_prompt, compile_prefix(model, soft_prompt), start, "its start")[0]


@pytest.mark.parametrize("make", [random_key_values, random_rows])
def test_a_soft_prompt_that_is_its_start_has_not_moved(model: FrozenModel, make: type) -> None:
    soft_prompt = make(model)
    found = _drift(model, soft_prompt, soft_prompt)
    for move in found.by_token:
        assert move.distance == pytest.approx(0, abs=1e-6)
        assert move.cosine == pytest.approx(1, abs=1e-6)
    assert found.reading == "It is what it started as: its start."


def test_twice_its_start_is_one_length_away_and_not_turned(model: FrozenModel) -> None:
    start = random_key_values(model)
    doubled = of_key_values(2 * start.tensors["prompt_embeddings"].reshape(5, model.num_layers, 2, 2, 8))
    found = _drift(model, doubled, start)
    assert found.keys is not None
    assert found.values is not None
    for move in (found.keys, found.values, *found.by_token):
        assert (move.distance, move.cosine) == pytest.approx((1, 1), abs=1e-6)


def test_moves_are_those_computed_by_hand_over_all_heads(model: FrozenModel) -> None:
    one, other = random_key_values(model, seed=0), random_key_values(model, seed=1)
    now, then = one.key_values(), other.key_values()
    assert now is not None
    assert then is not None
    found = _drift(model, one, other)
    for layer in found.layers:
        for part, moves in enumerate((layer.keys, layer.values)):
            for token, move in enumerate(moves):
                after, before = now[token, layer.layer, part].flatten(), then[token, layer.layer, part].flatten()
                assert move.distance == pytest.approx(float((after - before).norm() / before.norm()), rel=1e-5)
                assert move.cosine == pytest.approx(float(after @ before / after.norm() / before.norm()), rel=1e-4)


def test_rows_are_compared_as_rows_and_as_what_they_compile_to(model: FrozenModel) -> None:
    start = random_rows(model)
    moved = start.tensors["prompt_embeddings"].clone()
    moved[3] += 1.0
    found = _drift(model, of_rows(moved), start)
    assert [move.distance > 1e-6 for move in found.by_token] == [False, False, False, True, False]
    assert "Virtual token 3 has moved furthest" in found.reading
    # What comes before the moved row does not see it; what comes after does.
    last = found.layers[-1].values
    assert [move.distance > 1e-6 for move in last] == [False, False, False, True, True]


def test_a_model_that_does_without_keys_and_values_has_rows_alone_compared() -> None:
    on = frozen("Lfm2")
    found = _drift(on, random_rows(on, seed=0), random_rows(on, seed=1))
    assert found.layers == ()
    assert len(found.by_token) == 5
    assert "rows have moved" in found.reading


def test_the_start_that_a_training_run_kept_is_found_beside_the_best(model: FrozenModel, tmp_path: Path) -> None:
    random_key_values(model, seed=1).save(tmp_path / "run" / "initial")
    random_key_values(model, seed=0).save(tmp_path / "run" / "best")
    (tmp_path / "run" / "settings.json").write_text("{}")
    for source in (tmp_path / "run" / "best", tmp_path / "run"):
        found = find_start(model, SoftPrompt.load(source))
        assert not isinstance(found, str)
        assert torch.equal(found[0].tensors["prompt_embeddings"], random_key_values(model, seed=1).tensors["prompt_embeddings"])
        assert "training run" in found[1]


def test_what_the_caller_names_comes_first_and_must_be_as_long(model: FrozenModel, tmp_path: Path) -> None:
    random_key_values(model, seed=1).save(tmp_path / "initial")
    random_key_values(model, seed=0).save(tmp_path / "best")
    named = replace(random_key_values(model, seed=2), source="named")
    assert find_start(model, SoftPrompt.load(tmp_path / "best"), named) == (named, "named")
    with pytest.raises(InvalidSettingsError, match="expected 5 virtual tokens, as the soft prompt has, found 3"):
        find_start(model, SoftPrompt.load(tmp_path / "best"), random_key_values(model, count=3))


def test_a_start_of_another_length_beside_it_is_not_taken_for_its_own(model: FrozenModel, tmp_path: Path) -> None:
    random_key_values(model, count=3).save(tmp_path / "initial")
    random_key_values(model).save(tmp_path / "best")
    assert "was not kept" in str(find_start(model, SoftPrompt.load(tmp_path / "best")))


def test_the_start_of_a_kv_prefix_is_computed_again_from_its_hard_prompt(model: FrozenModel) -> None:
    ids = instruction_ids(model, PROMPT)[:6]
    soft_prompt = of_key_values(text_prefix(model, ids), about(model))
    found = find_start(model, soft_prompt)
    assert not isinstance(found, str)
    assert found[1] == "the first 6 tokens of the hard prompt it was made with"
    assert max(move.distance for move in _drift(model, soft_prompt, found[0]).by_token) < 1e-5


def test_where_nobody_knows_the_start_the_reason_is_said(model: FrozenModel) -> None:
    assert "not one whose start can be computed" in str(find_start(model, random_key_values(model)))
    drawn = about(model, training={"init": "vocabulary"})
    assert "started as vocabulary, which was not kept" in str(find_start(model, random_key_values(model, manifest=drawn)))
    other = tiny_model(seed=3)
    assert "another model" in str(find_start(other, random_key_values(model, manifest=about(model))))
