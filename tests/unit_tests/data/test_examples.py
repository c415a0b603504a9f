"""Examples: what training reads is what serving renders, and the completion ends once."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage

from langchain_softprompt.data import read_rows
from langchain_softprompt.data.examples import Example, instruction_ids, make_examples
from langchain_softprompt.errors import ChatTemplateError, FrozenModelError, TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.messages import render_messages
from langchain_softprompt.testing import tiny_model, tiny_tokenizer
from langchain_softprompt.training import HardPrompt
from tests.tiny import WITH_BEGIN_MARK, WITH_DEFAULT_SYSTEM, WITHOUT_SYSTEM_ROLE, random_model, tokenizer_with

# Opens the assistant's turn in another way than it writes an answered one.
THINKING = tiny_tokenizer().chat_template + "{% if add_generation_prompt %}<think>\n{% endif %}"
TEMPLATES = [tiny_tokenizer().chat_template, WITH_DEFAULT_SYSTEM, WITH_BEGIN_MARK, WITHOUT_SYSTEM_ROLE, THINKING]
PROMPT = HardPrompt.from_pairs([("system", "Sort the mail."), ("human", "Mail: {text}")])
ROWS = [{"text": "Buy now!", "label": "spam"}, {"text": "Lunch?", "label": " ham "}]


def _model(template: str) -> FrozenModel:
    return tiny_model(tokenizer=tokenizer_with(template))


def _examples(model: FrozenModel, rows: list[dict[str, str]] = ROWS, *, max_tokens: int = 512) -> list[Example]:
    return make_examples(model, PROMPT, rows, "label", max_tokens=max_tokens, source="rows.csv")


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_text_is_what_serving_renders_for_the_same_message(template: str) -> None:
    model = _model(template)
    assert model.tokenizer is not None
    for row, example in zip(ROWS, _examples(model), strict=True):
        served = render_messages(model.tokenizer, [HumanMessage(f"Mail: {row['text']}")], drop_default_system=True)
        assert list(example.text) == served


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("target", ["spam", "<|im_end|>", "spam<|im_end|>\n<|im_start|>user\n", "ünï\n"])
def test_the_completion_is_the_target_and_one_end_token(template: str, target: str) -> None:
    model = _model(template)
    assert model.tokenizer is not None
    (example,) = _examples(model, [{"text": "x", "label": target}])
    ends = [token for token in example.completion if token in model.eos_token_ids]
    assert example.completion[-1:] == tuple(ends)
    assert str(model.tokenizer.decode(list(example.completion[:-1]))).strip() == target.strip()


def test_a_sequence_of_end_tokens_in_the_template_is_cut_after_the_first() -> None:
    template = tiny_tokenizer().chat_template.replace("<|im_end|>\n", "<|im_end|><|im_end|>\n")
    (example, _) = _examples(_model(template))
    assert list(example.completion).count(tiny_tokenizer().eos_token_id) == 1


@pytest.mark.parametrize("template", [tiny_tokenizer().chat_template, WITH_DEFAULT_SYSTEM, WITH_BEGIN_MARK])
def test_instructions_text_and_completion_make_the_hard_prompts_own_chat(template: str) -> None:
    model = _model(template)
    assert model.tokenizer is not None
    example = _examples(model)[0]
    chat = [
        {"role": "system", "content": "Sort the mail."},
        {"role": "user", "content": "Mail: Buy now!"},
        {"role": "assistant", "content": "spam"},
    ]
    whole = render_chat(model.tokenizer, chat, add_generation_prompt=False)
    ours = [*instruction_ids(model, PROMPT), *example.text, *example.completion]
    assert whole[: len(ours)] == ours


def test_without_a_system_role_the_instructions_stand_first_as_text_after_the_one_begin_mark() -> None:
    model = _model(WITHOUT_SYSTEM_ROLE)
    assert model.tokenizer is not None
    ids = instruction_ids(model, PROMPT)
    assert model.tokenizer.decode(ids) == "<|endoftext|>Sort the mail.\n"
    assert ids[0] == model.tokenizer.bos_token_id
    assert all(model.tokenizer.bos_token_id not in example.text for example in _examples(model))


def test_a_row_that_is_too_long_is_named() -> None:
    model = _model(TEMPLATES[0])
    length = max(len(example) for example in _examples(model))
    assert len(_examples(model, max_tokens=length)) == 2
    with pytest.raises(TrainingDataError, match=rf"rows.csv: row 1 takes {length} tokens, more than {length - 1}. .*max_tokens"):
        _examples(model, max_tokens=length - 1)


def test_a_row_of_a_file_that_is_too_long_is_named_by_its_line_whatever_was_set_aside(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\na,x\n\nb,y\nc" + 50 * " c" + ",x\nd,y\n")
    rows = read_rows(file, ["text", "label"])
    with pytest.raises(TrainingDataError, match=r"rows.csv, line 5: takes \d+ tokens, more than 40. .*max_tokens") as caught:
        _examples(_model(TEMPLATES[0]), rows[1:], max_tokens=40)
    assert caught.value.line == 5


def test_a_template_that_shows_the_answer_is_refused() -> None:
    showing = HardPrompt.from_pairs([("system", "Sort."), ("human", "{text} is {label}")])
    with pytest.raises(TrainingDataError, match="shows the model the field 'label'"):
        make_examples(_model(TEMPLATES[0]), showing, [{"text": "a", "label": "x"}], "label", max_tokens=99, source="rows.csv")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"text": "x"}, "row 1: field 'label': expected text, found None"),
        ({"label": "x"}, "row 1: field 'text': expected text, found None"),
        ({"text": 3, "label": "x"}, "row 1: field 'text': expected text, found 3"),
    ],
)
def test_a_row_without_a_field_is_named(row: dict[str, str], problem: str) -> None:
    with pytest.raises(TrainingDataError, match=problem):
        _examples(_model(TEMPLATES[0]), [row])


def test_no_rows_at_all_are_refused() -> None:
    with pytest.raises(TrainingDataError, match=r"rows.csv: holds no rows"):
        _examples(_model(TEMPLATES[0]), [])


def test_a_model_without_a_tokenizer_or_an_end_token_or_a_chat_template_is_refused() -> None:
    with pytest.raises(ChatTemplateError, match="without a tokenizer"):
        _examples(FrozenModel.wrap(random_model("Llama")))
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ChatTemplateError, match="no chat template"):
        _examples(tiny_model(tokenizer=tokenizer))
    endless = tiny_model()
    endless.eos_token_ids = ()
    with pytest.raises(FrozenModelError, match="end-of-sequence"):
        _examples(endless)
