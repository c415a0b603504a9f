"""The table of how good soft prompts are: each cell is trained and scored by what users train and score with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.quality import tasks
from benchmarks.quality.cells import DISTILLED, FEW_SHOT, OURS, ZERO_SHOT, few_shot_prompt, run_cell
from benchmarks.quality.page import page
from benchmarks.quality.starts import WAYS, peft_start
from benchmarks.quality.tasks import TASKS, Task, intent
from langchain_softprompt.testing import tiny_model


@pytest.fixture
def task() -> Task:
    """Two steps, three short rows a split."""

    class Short(Task):
        __slots__ = ()

        def rows(self, split: str) -> list[dict[str, str]]:
            return sorted(Task.rows(self, split), key=lambda row: len(row[self.field]))[:8]

    whole = TASKS["sentence_polarity"]
    return Short(whole.name, whole.field, whole.target, whole.metrics, whole.targets, steps=2, answer_tokens=4, shots=1, distil_steps=2)


@pytest.mark.parametrize("way", [ZERO_SHOT, FEW_SHOT, OURS, DISTILLED, *WAYS])
def test_each_way_gives_scores_with_intervals_and_says_what_it_took(task: Task, way: str, tmp_path: Path) -> None:
    cell = run_cell(tiny_model(), task, way, 0, tmp_path)
    assert set(cell["scores"]) == set(task.metrics)
    assert all(0 <= low <= value <= high <= 1 for value, low, high in cell["scores"].values())
    assert cell["test_rows"] == 8
    if way not in (ZERO_SHOT, FEW_SHOT):
        assert cell["steps_done"] == 2
        assert cell["virtual_tokens"] == (cell["prompt_tokens"] // 10 if way == DISTILLED else tasks.VIRTUAL_TOKENS)
        assert run_cell(tiny_model(), task, way, 0, tmp_path)["scores"] == cell["scores"], "a cell that was trained is not trained again"


@pytest.mark.parametrize("way", list(WAYS))
def test_pefts_starts_leave_the_frozen_model_as_it_was(way: str) -> None:
    model = tiny_model()
    before = {name: parameter.clone() for name, parameter in model.model.named_parameters()}
    start = peft_start(model, way, 5, 0)
    assert start.num_virtual_tokens == 5
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.model.named_parameters())


def test_every_task_has_a_hard_prompt_that_reads_its_field_and_rows_in_every_split() -> None:
    for name, task in TASKS.items():
        assert task.prompt().fields == (task.field,)
        splits = [{row[task.field] for row in task.rows(split)} for split in ("train", "validation", "test")]
        assert all(splits), name
        assert not splits[2] & (splits[0] | splits[1]), "no test row was seen"
        assert replace(task, steps=60).settings(1).max_steps == 60


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ('{"intent": "GetWeather", "slots": {}}', 1.0),
        ('{"intent": "PlayMusic"}', 0.0),
        ("GetWeather", 0.0),
        ("[1]", 0.0),
        ('{"a": 1}', 0.0),
    ],
)
def test_the_intent_is_read_out_of_the_json(answer: str, right: float) -> None:
    assert intent({"output": '{"intent": "GetWeather", "slots": {"city": "Ohio"}}'}, answer) == right


def test_the_page_shows_one_seed_with_its_interval_and_several_with_their_range() -> None:
    def cell(way: str, seed: int, value: float) -> dict[str, Any]:
        scores = {name: [value, value - 0.01, value + 0.01] for name in TASKS["disfl_qa"].metrics}
        facts: dict[str, Any] = {"steps_done": 400, "seconds": 600.0, "learning_rate": 0.015} if way == OURS else {}
        if way == DISTILLED:
            facts = {"prompt_tokens": 200, "virtual_tokens": 20, "prompt_seconds": 0.2, "soft_seconds": 0.05}
            facts |= {"initial_kl": 2.0, "kl": 0.1, "agreement": 0.9}
        common = {"task": "disfl_qa", "way": way, "seed": seed, "threads": 2, "dtype": "float32", "read_tokens": 20.0, "scores": scores}
        return common | facts

    distilled = [cell(FEW_SHOT, 0, 0.4), cell(DISTILLED, 0, 0.38)]
    machine = {"cpu": "Some CPU", "cores_seen": 2}
    text = page({"machine": machine, "cells": [cell(ZERO_SHOT, 0, 0.1), cell(OURS, 0, 0.5), cell(OURS, 1, 0.7), *distilled]})
    assert "| hard prompt, zero-shot | 1 | 0.100 (0.090 to 0.110) |" in text
    assert (
        "| **soft prompt from the hard prompt** | 2 | 0.600 (0.500 to 0.700) | 0.600 (0.500 to 0.700) | 0.015 | 400 | 10 (2 threads) | 20 |"
        in text
    )
    assert "| disfl_qa | exact match, free answer | 0.100 | 0.400 |  | **0.600** | 0.62 | missed |" in text
    assert "| 0.400 | 0.380 | 95.0% | 200 | 20 | 2.00, now 0.100 | 90.0% | 200 ms, now 50 ms |" in text
    assert "snips" not in text


def test_the_prompt_to_distil_says_what_the_few_shot_baseline_says_braces_and_all() -> None:
    snips = TASKS["snips"]
    prompt = few_shot_prompt(snips, 0)
    said = [message.template.format_map({}) for message in prompt.messages[:-1]]
    assert len(said) == 1 + 2 * snips.shots
    assert all(json.loads(answer)["intent"] for answer in said[2::2])
    assert prompt.fields == (snips.field,)
