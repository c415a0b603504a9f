"""Hard prompts: templates from pairs, JSON and text files, and what is no template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.prompts import ChatPromptTemplate

from langchain_softprompt.data.hard_prompt import fill
from langchain_softprompt.errors import TrainingDataError
from langchain_softprompt.training import HardPrompt

_PAIRS = [("system", "Sort mail. {{not a field}}"), ("human", "{text} from {sender}"), ("ai", "Hm."), ("human", "{text}!")]


def test_the_leading_system_messages_are_the_instructions_and_the_rest_is_the_input() -> None:
    prompt = HardPrompt.from_pairs([("system", "One."), ("system", "Two."), ("system", "For {who}."), ("human", "{text}")])
    assert [message.template for message in prompt.instructions] == ["One.", "Two."]
    assert [message.template for message in prompt.inputs] == ["For {who}.", "{text}"]
    assert prompt.fields == ("who", "text")


def test_fields_are_named_once_in_order_and_doubled_braces_are_text() -> None:
    prompt = HardPrompt.from_pairs(_PAIRS)
    assert prompt.fields == ("text", "sender")
    assert fill(prompt.messages, {"text": "{sender}", "sender": "Bo", "unused": "x"}) == [
        {"role": "system", "content": "Sort mail. {not a field}"},
        {"role": "user", "content": "{sender} from Bo"},
        {"role": "assistant", "content": "Hm."},
        {"role": "user", "content": "{sender}!"},
    ]


def test_langchains_other_names_for_the_roles_are_understood() -> None:
    prompt = HardPrompt.from_pairs([("system", "Sort."), ("user", "{text}"), ("assistant", "Hm."), ("human", "?")])
    assert [message.role for message in prompt.messages] == ["system", "human", "ai", "human"]


def test_a_json_file_holds_the_whole_template(tmp_path: Path) -> None:
    file = tmp_path / "sort.json"
    file.write_text(json.dumps([{"role": role, "template": template} for role, template in _PAIRS]))
    assert HardPrompt.from_file(file).messages == HardPrompt.from_pairs(_PAIRS).messages
    assert HardPrompt.from_file(str(file)).name == str(file)


@pytest.mark.parametrize(
    "content",
    [
        [["system", "Sort."], ["human", "{text}"]],
        [{"role": "system", "content": "Sort."}, {"role": "user", "content": "{text}"}],
        [{"role": "system", "template": "Sort."}, ["user", "{text}"]],
    ],
)
def test_a_json_file_may_hold_messages_in_langchains_other_notations(tmp_path: Path, content: list[Any]) -> None:
    """Held against LangChain's own reading of them, where it reads them."""
    file = tmp_path / "sort.json"
    file.write_text(json.dumps(content))
    read = HardPrompt.from_file(file)
    if all(isinstance(message, list) or "content" in message for message in content):
        theirs = ChatPromptTemplate.from_messages([tuple(message) if isinstance(message, list) else message for message in content])
        said = [(message.type, message.content) for message in theirs.invoke({"text": "a letter"}).to_messages()]
        ours = [(message.role, message.template.format(text="a letter")) for message in read.messages]
        assert ours == said
    assert read == HardPrompt.from_pairs([("system", "Sort."), ("human", "{text}")], str(file))


def test_a_text_file_without_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sort.txt"
    file.write_text(" \n")
    with pytest.raises(TrainingDataError, match="holds no instructions"):
        HardPrompt.from_file(file, input_field="text")


def test_a_text_file_holds_the_instructions_as_they_are_braces_and_all(tmp_path: Path) -> None:
    file = tmp_path / "sort.txt"
    file.write_text('\ufeff Answer as {"label": ...}.\n')
    prompt = HardPrompt.from_file(file, input_field="text")
    assert fill(prompt.messages, {"text": "Hi"}) == [
        {"role": "system", "content": 'Answer as {"label": ...}.'},
        {"role": "user", "content": "Hi"},
    ]
    assert prompt.fields == ("text",)


def test_a_text_file_without_an_input_field_says_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "sort.txt"
    file.write_text("Sort.")
    with pytest.raises(TrainingDataError, match="input field"):
        HardPrompt.from_file(file)


@pytest.mark.parametrize(
    "template",
    [
        "{text.__class__}",
        "{text.__init__.__globals__}",
        "{text[0]}",
        "{text!r}",
        "{text:>10}",
        "{text:{width}}",
        "{0}",
        "{}",
        "{a b}",
        "{text",
        "text}",
        "{ text }",
    ],
)
def test_anything_but_a_plain_field_name_in_braces_is_refused(template: str) -> None:
    with pytest.raises(TrainingDataError, match="Write literal braces twice"):
        HardPrompt.from_pairs([("system", "Sort."), ("human", template)])


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([], "first message must be a system message"),
        ([("human", "{text}")], "first message must be a system message"),
        ([("system", "Sort for {who}."), ("human", "{text}")], "first message must be a system message without {fields}"),
        ([("system", "Sort.")], "has a {field}"),
        ([("system", "Sort."), ("human", "Hi")], "has a {field}"),
        ([("robot", "Sort."), ("human", "{text}")], "0.role"),
        ([("system", None), ("human", "{text}")], "0.template"),
    ],
)
def test_messages_that_are_no_template_to_start_from_are_refused(pairs: list[tuple[str, str]], problem: str) -> None:
    with pytest.raises(TrainingDataError) as caught:
        HardPrompt.from_pairs(pairs, "my prompt")
    assert str(caught.value).startswith("my prompt: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"3", b"null", b'{"role": "system"}', b'[{"role": "system"}]', b"[[]]", b"\xff", b"[" * 100_000]
)
def test_a_json_file_that_is_no_template_is_one_typed_error_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "sort.json"
    file.write_bytes(content)
    with pytest.raises(TrainingDataError) as caught:
        HardPrompt.from_file(file)
    message = str(caught.value)
    assert message.count(str(file)) == 1
    assert "\n" not in message


def test_a_file_that_is_not_there_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"none\.json"):
        HardPrompt.from_file(tmp_path / "none.json")
