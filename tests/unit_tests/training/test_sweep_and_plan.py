"""The learning rate is found by trying, and a plan says beforehand what a run will take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import pytest
import torch
from torch import Tensor

from langchain_softprompt.data import instruction_ids
from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KVPrefix
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.testing import tiny_model
from langchain_softprompt.training import Nobody, Plan, train
from langchain_softprompt.training.batches import batches
from langchain_softprompt.training.objectives import Completions
from langchain_softprompt.training.starts import new_learner
from langchain_softprompt.training.sweep import RATES, find_learning_rate, sweep_steps
from tests.unit_tests.training.learning import PROMPT, ROWS, VALIDATION, examples


class _Notes(Nobody):
    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.rates: dict[float, float] = {}

    def on_plan(self, plan: Plan) -> None:
        self.plans.append(plan)

    def on_rate(self, rate: float, loss: float) -> None:
        self.rates[rate] = loss


@pytest.mark.parametrize("method", sorted(RATES))
def test_the_rate_with_the_lowest_validation_loss_is_taken_and_the_run_is_as_if_it_had_been_given(method: str) -> None:
    notes, settings = _Notes(), TrainingSettings(max_steps=6, batch_size=2, method=method)
    found = train(tiny_model(), PROMPT, ROWS, VALIDATION, target="label", settings=settings, watcher=notes)
    assert tuple(notes.rates) == RATES[method]
    best = min(notes.rates, key=lambda rate: notes.rates[rate])
    assert found.manifest is not None
    assert found.manifest.training["learning_rate"] == best
    given = train(tiny_model(), PROMPT, ROWS, VALIDATION, target="label", settings=settings.override(learning_rate=best))
    assert given.content_hash == found.content_hash


def test_no_rate_is_tried_where_one_is_given() -> None:
    notes = _Notes()
    settings = TrainingSettings(max_steps=1, learning_rate=0.01)
    train(tiny_model(), PROMPT, ROWS, VALIDATION, target="label", settings=settings, watcher=notes)
    assert not notes.rates
    assert notes.plans[0].sweep_steps == 0


def test_rates_that_all_end_in_no_number_are_said_to() -> None:
    class Astray(Completions):
        def loss(self, prefix: KVPrefix, rows: Sequence[int]) -> Tensor:
            return super().loss(prefix, rows) * math.nan

    model = tiny_model()
    settings = TrainingSettings(max_steps=8)
    ids, given = instruction_ids(model, PROMPT), Astray(model, examples(model, ROWS))
    with pytest.raises(FrozenModelError, match=r"No learning rate among 0\.005, 0\.015, 0\.04"):
        find_learning_rate(
            model, lambda: new_learner(model, ids, settings), given, examples(model, VALIDATION), settings, {}, lambda *_: None
        )


def test_the_search_is_short_beside_the_run() -> None:
    assert [sweep_steps(steps) for steps in (1, 5, 100, 400, 10_000)] == [1, 5, 8, 20, 30]


def test_the_plan_counts_what_the_run_then_reads() -> None:
    model: FrozenModel = tiny_model()
    notes, settings = _Notes(), TrainingSettings(max_steps=7, batch_size=4, learning_rate=0.01)
    made = train(model, PROMPT, ROWS, VALIDATION, target="label", settings=settings, watcher=notes)
    (plan,) = notes.plans
    assert made.manifest is not None
    assert (plan.rows, plan.validation_rows, plan.steps) == (6, 3, 7)
    assert plan.tokens == made.manifest.training["tokens"]
    assert plan.tokens == sum(len(examples(model, ROWS)[row]) for batch in islice(batches(examples(model, ROWS), 4, 0), 7) for row in batch)
    assert plan.parameters == sum(tensor.numel() for tensor in made.tensors.values())
    assert plan.seconds > 0
    assert plan.memory_bytes is None or plan.memory_bytes > 100e6, "the interpreter and torch alone take that"


def test_a_plan_changes_nothing_in_the_run() -> None:
    settings = TrainingSettings(max_steps=5, batch_size=2, learning_rate=0.01)
    with_plan = train(tiny_model(), PROMPT, ROWS, VALIDATION, target="label", settings=settings, watcher=_Notes())
    without = train(tiny_model(), PROMPT, ROWS, VALIDATION, target="label", settings=settings)
    assert torch.equal(with_plan.tensors["prompt_embeddings"], without.tensors["prompt_embeddings"])


def test_steps_follow_the_data_where_none_are_given() -> None:
    assert [TrainingSettings().steps_for(rows) for rows in (10, 320, 3000, 10**6)] == [50, 100, 937, 1000]
    assert TrainingSettings(max_steps=3).steps_for(10**6) == 3
