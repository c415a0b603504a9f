"""A compiled soft prompt gives PEFT's own logits: batch size 1, float32, absolute difference at most 1e-5."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from langchain_softprompt.errors import ModelMismatchError
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.soft_prompt.peft_folders import (
    HYBRID,
    KINDS,
    MODELS,
    TASKS,
    TEXT_TOKENS,
    VIRTUAL_TOKENS,
    WINDOW,
    frozen,
    logits_after,
    logits_at_once,
    peft_logits,
    save_with_peft,
    task_of,
    text,
)

TOLERANCE = 1e-5
EFFECT = 1e-2  # how far the soft prompt must move the bare model's logits for a comparison to mean anything
HOLDS_KEY_VALUES = [kind for kind in KINDS if kind.startswith(("PREFIX", "CARTRIDGE"))]
HOLDS_EMBEDDINGS = [kind for kind in KINDS if kind not in HOLDS_KEY_VALUES]
# What PEFT itself says to keys and values on a model with convolution layers.
HYBRID_REFUSAL = "Cannot get conv state for non linear attention layer"


@cache
def _bare_logits(family: str) -> Tensor:
    return logits_after(frozen(family), None, text())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", [family for family in MODELS if family != HYBRID])
def test_every_type_on_every_model_gives_pefts_logits_at_every_position(family: str, kind: str, tmp_path: Path) -> None:
    """The text is read token by token and in one pass; on sliding-window models it is longer than the window."""
    model = frozen(family)
    expected = peft_logits(model, save_with_peft(tmp_path, kind, model), text(), task_of(kind))

    prefix = compile_prefix(model, SoftPrompt.load(tmp_path, task=task_of(kind)))

    assert model.reuses_prefix
    assert prefix.length == VIRTUAL_TOKENS
    torch.testing.assert_close(logits_after(model, prefix, text()), expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(logits_at_once(model, prefix, text()), expected[-1], atol=TOLERANCE, rtol=0)
    moved = (expected - _bare_logits(family)).abs().amax(dim=-1)
    assert moved.min() > EFFECT


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING"])
@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
def test_a_soft_prompt_longer_than_the_sliding_window_gives_pefts_logits(family: str, kind: str, tmp_path: Path) -> None:
    model = frozen(family)
    save_with_peft(tmp_path, kind, model, virtual_tokens=WINDOW + 3)
    expected = peft_logits(model, tmp_path, text())
    prefix = compile_prefix(model, SoftPrompt.load(tmp_path))
    assert prefix.length == WINDOW + 3
    torch.testing.assert_close(logits_after(model, prefix, text()), expected, atol=TOLERANCE, rtol=0)
    assert (expected[0] - _bare_logits(family)[0]).abs().max() > EFFECT


@pytest.mark.parametrize("task", range(TASKS))
def test_each_task_of_a_multitask_prompt_gives_pefts_logits_for_that_task(task: int, tmp_path: Path) -> None:
    model = frozen("llama")
    expected = peft_logits(model, save_with_peft(tmp_path, "MULTITASK_PROMPT_TUNING", model), text(), task)
    prefix = compile_prefix(model, SoftPrompt.load(tmp_path, task=task))
    torch.testing.assert_close(logits_after(model, prefix, text()), expected, atol=TOLERANCE, rtol=0)
    other = compile_prefix(model, SoftPrompt.load(tmp_path, task=(task + 1) % TASKS))
    assert (logits_after(model, other, text()) - expected).abs().max() > EFFECT


@pytest.mark.parametrize("kind", HOLDS_EMBEDDINGS)
def test_a_model_that_cant_continue_from_a_prefix_gives_pefts_logits_in_one_pass(kind: str, tmp_path: Path) -> None:
    model = frozen(HYBRID)
    expected = peft_logits(model, save_with_peft(tmp_path, kind, model), text(), task_of(kind))
    prefix = compile_prefix(model, SoftPrompt.load(tmp_path, task=task_of(kind)))
    assert not model.reuses_prefix
    torch.testing.assert_close(logits_at_once(model, prefix, text()), expected[-1], atol=TOLERANCE, rtol=0)
    assert (expected[-1] - logits_at_once(model, None, text())).abs().max() > EFFECT


@pytest.mark.parametrize("kind", HOLDS_KEY_VALUES)
def test_where_peft_fails_on_a_hybrid_model_we_refuse_by_name(kind: str, tmp_path: Path) -> None:
    model = frozen(HYBRID)
    save_with_peft(tmp_path, kind, model)
    with pytest.raises(ValueError, match=HYBRID_REFUSAL):
        peft_logits(model, tmp_path, text())
    with pytest.raises(ModelMismatchError, match=r"tiny-lfm2 can't continue from keys and values.*Use a soft prompt made of embeddings"):
        compile_prefix(model, SoftPrompt.load(tmp_path))


def test_the_text_is_longer_than_the_sliding_window() -> None:
    """Else the parity tests on sliding-window models would show nothing of the window."""
    assert len(text()) == TEXT_TOKENS > WINDOW
