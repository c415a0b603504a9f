"""Sample inputs: rows, else probes, else neutral texts, each rendered as in service."""

from __future__ import annotations

import pytest

from langchain_softprompt.data import instruction_ids, make_examples
from langchain_softprompt.errors import ChatTemplateError, EvaluationError, TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.inspection.samples import choose_samples, hard_prompt_ids
from langchain_softprompt.prefix import with_probes
from langchain_softprompt.testing import tiny_model, tiny_tokenizer
from tests.tiny import WITH_DEFAULT_SYSTEM, WITHOUT_SYSTEM_ROLE, frozen, tokenizer_with
from tests.unit_tests.inspection.looking import PROMPT, ROWS, about, random_key_values
from tests.unit_tests.soft_prompt.peft_folders import frozen as without_tokenizer


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return tiny_model()


@pytest.mark.parametrize("template", [None, WITH_DEFAULT_SYSTEM, WITHOUT_SYSTEM_ROLE])
def test_rows_are_read_as_they_are_in_training(template: str | None) -> None:
    model = frozen("Llama", tokenizer_with(template) if template else None)
    soft_prompt = random_key_values(model, manifest=about(model))
    found = choose_samples(model, soft_prompt, ROWS, target="label")
    expected = make_examples(model, PROMPT, ROWS, "label", max_tokens=512, source="rows")
    assert [(sample.text, sample.wanted) for sample in found.samples] == [(example.text, example.completion) for example in expected]
    assert [sample.shown for sample in found.samples] == [row["text"] for row in ROWS]
    assert found.labelled
    assert "with the wanted answers" in str(found)


def test_without_a_target_the_texts_are_the_same_and_no_answer_is_wanted(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model, manifest=about(model))
    labelled, plain = (choose_samples(model, soft_prompt, ROWS, target=target) for target in ("label", None))
    assert [sample.text for sample in plain.samples] == [sample.text for sample in labelled.samples]
    assert not plain.labelled
    assert "soft prompt itself gives" in str(plain)


def test_without_rows_the_probes_it_carries_are_taken(model: FrozenModel) -> None:
    soft_prompt = with_probes(
        random_key_values(model, manifest=about(model)), model, [[{"role": "user", "content": "cow"}], [{"role": "user", "content": "eel"}]]
    )
    found = choose_samples(model, soft_prompt, None)
    assert found.origin == "probes"
    assert [sample.shown for sample in found.samples] == ["cow", "eel"]
    assert list(found.samples[0].text) == render_chat(tiny_tokenizer(), [{"role": "user", "content": "cow"}])


def test_without_rows_and_probes_neutral_texts_are_taken(model: FrozenModel) -> None:
    for manifest in (None, about(model)):
        found = choose_samples(model, random_key_values(model, manifest=manifest), None)
        assert found.origin == "neutral"
        assert len(found.samples) == 8
        assert "nothing to do with its task" in str(found)


def test_a_field_can_be_sent_where_nobody_says_what_to_send(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model)
    with pytest.raises(EvaluationError, match="--input text"):
        choose_samples(model, soft_prompt, ROWS)
    found = choose_samples(model, soft_prompt, ROWS, input_field="text")
    assert list(found.samples[0].text) == render_chat(tiny_tokenizer(), [{"role": "user", "content": "cow"}])


def test_a_model_without_chat_template_reads_plain_text() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    model = frozen("Llama", tokenizer)
    sample = choose_samples(model, random_key_values(model), ROWS, input_field="text", target="label").samples[0]
    assert tokenizer.decode(list(sample.text)) == "cow"
    assert tokenizer.decode(list(sample.wanted)) == " farm<|im_end|>"


def test_what_does_not_fit_the_context_is_left_out_and_counted(model: FrozenModel) -> None:
    soft_prompt = random_key_values(model, manifest=about(model))
    longest = max(len(sample.text) + len(sample.wanted) for sample in choose_samples(model, soft_prompt, ROWS, target="label").samples)
    found = choose_samples(model, soft_prompt, ROWS, target="label", room=longest - 1)
    assert (len(found.samples), found.too_long) == (3, 1)
    with pytest.raises(EvaluationError, match="at most 3 tokens, the room the soft prompt leaves"):
        choose_samples(model, soft_prompt, ROWS, room=3)


def test_rows_without_the_fields_are_refused(model: FrozenModel) -> None:
    with pytest.raises(EvaluationError, match="row 2: field 'text': expected text, found None"):
        choose_samples(model, random_key_values(model, manifest=about(model)), [ROWS[0], {"label": "x"}])


@pytest.mark.parametrize("template", ["{text:>999999999999}", "{text.__class__}", "{text!r}", "{", "no field"])
def test_a_strangers_template_may_ask_for_plain_fields_only(template: str, model: FrozenModel) -> None:
    soft_prompt = random_key_values(model, manifest=about(model, input_messages=[{"role": "human", "template": template}], hard_prompt=[]))
    with pytest.raises(TrainingDataError):
        choose_samples(model, soft_prompt, ROWS)


def test_a_hard_prompt_that_is_none_counts_as_none(model: FrozenModel) -> None:
    broken = [{"role": "human", "template": "{text!r}"}]
    assert hard_prompt_ids(model, random_key_values(model, manifest=about(model, hard_prompt=broken))) is None
    assert hard_prompt_ids(model, random_key_values(model)) is None
    assert hard_prompt_ids(model, random_key_values(model, manifest=about(model))) == instruction_ids(model, PROMPT)


def test_a_model_without_a_tokenizer_reads_no_text() -> None:
    model = without_tokenizer("llama")
    with pytest.raises(ChatTemplateError, match="without a tokenizer"):
        choose_samples(model, random_key_values(model), None)
