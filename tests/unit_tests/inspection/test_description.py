"""Self-description: what is said counts only by what it does as a hard prompt."""

from __future__ import annotations

import pytest
import torch

from langchain_softprompt.data import Example, HardPrompt, instruction_ids
from langchain_softprompt.errors import ChatTemplateError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.inspection.answers import greedy_answers
from langchain_softprompt.inspection.description import CONTROL, QUESTIONS, Control, Description, Restored, Statement, describe
from langchain_softprompt.prefix import TokenIds, compile_prefix, compile_segments
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import tiny_model
from tests.unit_tests.inspection.looking import EXAMPLES, PROMPT, about, logits_by_hand, of_key_values, random_key_values, text_prefix
from tests.unit_tests.soft_prompt.peft_folders import frozen as without_tokenizer


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


def _described(model: FrozenModel, soft_prompt: SoftPrompt) -> tuple[Description, list[Example]]:
    texts = [example.text for example in EXAMPLES]
    answers = greedy_answers(model, [(text, soft_prompt) for text in texts], max_tokens=4)
    examples = [Example(text, answer) for text, answer in zip(texts, answers, strict=True)]
    return describe(model, soft_prompt, compile_prefix(model, soft_prompt), examples), examples


def test_a_soft_prompt_that_is_its_hard_prompt_is_restored_by_it_whole(model: FrozenModel) -> None:
    soft_prompt = of_key_values(text_prefix(model, instruction_ids(model, PROMPT)), about(model))
    found, _ = _described(model, soft_prompt)
    assert found.hard_prompt is not None
    assert (found.hard_prompt.share, found.hard_prompt.agreement) == pytest.approx((1, 1), abs=1e-5)


def test_the_share_restored_is_that_of_transformers_own_logits(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model, manifest=about(model))
    prefix = compile_prefix(model, soft_prompt)
    found, examples = _described(model, soft_prompt)
    said = HardPrompt.from_pairs([("system", CONTROL), ("human", "{text}")])
    head = compile_segments(model, [TokenIds(instruction_ids(model, said))])

    def apart(other: object) -> float:
        total = 0.0
        for example in examples:
            here, there = (logits_by_hand(model, one, example).log_softmax(dim=-1) for one in (prefix, other))  # type: ignore[arg-type]
            total += float(torch.nn.functional.kl_div(there, here, reduction="batchmean", log_target=True))
        return total

    control = next(control for control in found.controls if control.text == CONTROL)
    assert control.restored.share == pytest.approx(1 - apart(head) / apart(None), abs=1e-4)


def test_it_is_asked_the_fixed_questions_and_its_ordinary_answers_are_controls(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model, manifest=about(model))
    told: list[tuple[int, int]] = []
    prefix = compile_prefix(model, soft_prompt)
    found = describe(model, soft_prompt, prefix, EXAMPLES, on_progress=lambda *done: told.append(done))
    assert tuple(statement.question for statement in found.statements) == QUESTIONS
    assert all(statement.answer for statement in found.statements)
    assert [control.what for control in found.controls][1:] == ["one of its ordinary answers"] * 2
    assert found.inputs == len(EXAMPLES)
    assert told[-1][0] == told[-1][1]


def test_braces_in_what_it_says_are_no_fields(model: FrozenModel) -> None:
    """The tiny model writes any printable character, so braces come up; the real ones may, too."""
    for seed in range(3):
        found, _ = _described(model, random_key_values(model, seed=seed))
        assert all(statement.restored is not None for statement in found.statements if statement.answer)


def _verdict(share: float, *controls: float, hard: float | None = None) -> Description:
    return Description(
        statements=(Statement("?", "a", Restored(share, 0.0)), Statement("?", "", None)),
        controls=tuple(Control("a control", "c", Restored(control, 0.0)) for control in controls),
        hard_prompt=None if hard is None else Restored(hard, 0.0),
        bare_agreement=0.0,
        inputs=3,
    )


def test_a_description_counts_from_half_the_effect_and_only_clearly_above_every_control() -> None:
    assert _verdict(0.6, 0.1, 0.2).works
    assert not _verdict(0.4, 0.1).works
    assert not _verdict(0.9, 0.1, 0.85).works
    assert _verdict(0.9, 0.1, 0.75).works
    assert "does not describe itself" in _verdict(0.9, 0.1, 0.85, hard=0.95).reading
    assert "a control 85%" in _verdict(0.9, 0.1, 0.85, hard=0.95).reading
    assert "hard prompt it was made with: 95%" in _verdict(0.9, 0.1, 0.85, hard=0.95).reading
    assert "It describes itself" in _verdict(0.6, 0.1).reading


def test_a_model_that_says_nothing_does_not_describe_it() -> None:
    silent = Description((Statement("?", "", None),), (), None, 0.0, 3)
    assert not silent.works
    assert "says nothing" in silent.reading


def test_a_model_without_a_tokenizer_can_not_be_asked() -> None:
    on = without_tokenizer("llama")
    soft_prompt = random_key_values(on)
    with pytest.raises(ChatTemplateError):
        describe(on, soft_prompt, compile_prefix(on, soft_prompt), EXAMPLES)
