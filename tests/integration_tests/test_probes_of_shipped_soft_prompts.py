"""Probes on the real model: the thresholds hold for the soft prompts that come with this package."""

from __future__ import annotations

from dataclasses import replace

import pytest

from langchain_softprompt.ageing import check_soft_prompt, record_again
from langchain_softprompt.demo import shipped
from langchain_softprompt.demo.tasks import CLEAN, MOOD, ROUTE, Task
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix, run_probes
from langchain_softprompt.soft_prompt import SoftPrompt

pytestmark = pytest.mark.slow
TASKS = (CLEAN, ROUTE, MOOD)


@pytest.fixture(scope="module")
def plain() -> FrozenModel:
    """As training loads it."""
    return FrozenModel.load("embedded", dtype="float32")


@pytest.fixture(scope="module")
def recorded(plain: FrozenModel) -> dict[str, SoftPrompt]:
    return {task.name: _recorded(plain, task) for task in TASKS}


def _recorded(model: FrozenModel, task: Task) -> SoftPrompt:
    soft_prompt = SoftPrompt.load(shipped(task.name))
    (message,) = soft_prompt.manifest.input_messages
    field = "text" if "{text}" in message.template else "question"
    return record_again(model, soft_prompt, [{field: row.text} for row in task.rows(200)])


@pytest.mark.parametrize(
    ("dtype", "quantization", "packed"),
    [("float32", None, True), ("bfloat16", None, False), ("bfloat16", None, True), ("float16", None, True), ("float32", "int8", True)],
)
def test_in_every_precision_they_are_the_same(recorded: dict[str, SoftPrompt], dtype: str, quantization: str | None, packed: bool) -> None:
    model = FrozenModel.load("embedded", dtype=dtype, quantization=quantization, packed=packed)
    for soft_prompt in recorded.values():
        assert check_soft_prompt(model, soft_prompt).verdict == "same"


def test_numbers_that_changed_by_a_percent_are_drift_and_another_ones_numbers_are_broken(
    plain: FrozenModel, recorded: dict[str, SoftPrompt]
) -> None:
    names = list(recorded)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        numbers = recorded[name].tensors["prompt_embeddings"].float()
        scaled = replace(recorded[name], tensors={"prompt_embeddings": 1.01 * numbers})
        assert check_soft_prompt(plain, scaled).verdict == "drifted"
        exchanged = run_probes(plain, compile_prefix(plain, recorded[other]), recorded[name].manifest.probes)
        assert exchanged.verdict == "broken"
        assert exchanged.changed_tokens == 3


def test_a_soft_prompt_that_lost_rows_has_drifted_and_one_that_lost_half_of_them_is_broken(
    plain: FrozenModel, recorded: dict[str, SoftPrompt]
) -> None:
    for soft_prompt in recorded.values():
        whole = compile_prefix(plain, soft_prompt)
        for lost in (1, 4):
            assert run_probes(plain, whole.cut(lost, whole.length), soft_prompt.manifest.probes).verdict in {"drifted", "broken"}
        assert run_probes(plain, whole.cut(32, whole.length), soft_prompt.manifest.probes).verdict == "broken"
