"""Reasoning: what a model thinks before it answers is told from the answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.messages import ReasoningReader, Thought
from langchain_softprompt.testing import FakeEngine, tiny_tokenizer
from tests.unit_tests.chat.streams import merged

THINKING = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BEGUN = THINKING.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
CALL = '<tool_call>\n{"name": "look_up", "arguments": {"word": "x"}}\n</tool_call>'


def look_up(word: str) -> str:
    """Look a word up."""
    return word


def chat(answer: str, template: str = THINKING, **fields: Any) -> tuple[ChatSoftPrompt, FakeEngine]:
    """A chat model that says one thing."""
    engine = FakeEngine([answer], tokenizer=tiny_tokenizer(chat_template=template))
    return ChatSoftPrompt(model="fake", engine=engine, **{"max_tokens": 500, **fields}), engine


def read(*texts: str, begun: bool = False) -> tuple[str, str]:
    """Reasoning and text of an answer."""
    reader = ReasoningReader(begun=begun)
    pieces = [*(piece for text in texts for piece in reader.push(text)), *reader.finish()]
    thought = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
    return thought, "".join(piece for piece in pieces if isinstance(piece, str))


@pytest.mark.parametrize(
    ("answer", "thought", "text"),
    [
        ("<think>\nIt is late.\n</think>\n\nGood night.", "It is late.", "Good night."),
        (" \n<think>a</think>b", "a", "b"),
        ("<think></think>b", "", "b"),
        ("<think>cut off", "cut off", ""),
        ("No <think>marks</think> here.", "", "No <think>marks</think> here."),
        (" <thin", "", " <thin"),
        ("<think>a < b </thin </think>c</think>", "a < b </thin", "c</think>"),
        ("", "", ""),
    ],
)
def test_only_what_stands_at_the_head_is_reasoning(answer: str, thought: str, text: str) -> None:
    """Marks later in an answer are text; reasoning that was cut off stays reasoning."""
    assert read(answer) == (thought, text)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "</", "think", ">", " ", "\n", "a"]), max_size=10).map("".join),
    st.lists(st.integers(0), max_size=6),
    st.booleans(),
)
def test_how_an_answer_is_cut_up_changes_nothing(text: str, places: list[int], begun: bool) -> None:
    """Streaming gives the same as reading at once, and no letter is lost."""
    ends = sorted({place % (len(text) + 1) for place in places})
    cut = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    thought, said = read(text, begun=begun)
    assert read(*cut, begun=begun) == (thought, said)
    assert "".join((thought + said).split()).replace("<think>", "").replace("</think>", "") == "".join(text.split()).replace(
        "<think>", ""
    ).replace("</think>", "")


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("template", [THINKING, BEGUN])
def test_reasoning_is_a_block_of_its_own_in_invoke_and_in_a_stream(version: str, template: str) -> None:
    """Whether the model opens it or the chat template did."""
    answer = "It is late.</think>Good night." if template is BEGUN else "<think>It is late.</think>Good night."
    llm, _ = chat(answer, template, output_version=version)
    for said in (llm.invoke("?"), merged(llm.stream("?"))):
        assert said.text == "Good night."
        assert said.additional_kwargs.get("reasoning_content", "It is late.") == "It is late."
        assert [(block["type"], block.get("reasoning") or block.get("text")) for block in said.content_blocks] == [
            ("reasoning", "It is late."),
            ("text", "Good night."),
        ]


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_a_call_after_reasoning_is_still_a_call(version: str) -> None:
    """In both of LangChain's output versions, and merged from a stream."""
    llm, _ = chat(f"<think>I look it up.</think>\n{CALL}", output_version=version)
    bound = llm.bind_tools([look_up])
    for said in (bound.invoke("?"), merged(bound.stream("?"))):
        assert [call["args"] for call in said.tool_calls] == [{"word": "x"}]
        assert [block["type"] for block in said.content_blocks] == ["reasoning", "tool_call"]


def test_a_call_that_is_only_thought_of_is_not_made() -> None:
    """Marks inside the reasoning are reasoning."""
    llm, _ = chat(f"<think>Should I say {CALL}?</think>No.")
    said = llm.bind_tools([look_up]).invoke("?")
    assert not said.tool_calls
    assert said.text == "No."


def test_templates_without_reasoning_leave_the_marks_in_the_text() -> None:
    """And so does whoever says so; who wants it gets it anywhere."""
    answer = "<think>a</think>b"
    plain = tiny_tokenizer().chat_template
    assert chat(answer, plain)[0].invoke("?").text == answer
    assert chat(answer, reasoning=False)[0].invoke("?").text == answer
    assert chat(answer, plain, reasoning=True)[0].invoke("?").text == "b"


def test_reasoning_of_the_past_reaches_templates_that_ask_for_it() -> None:
    """What came back as reasoning goes in again as such."""
    llm, engine = chat("<think>a</think>b")
    llm.invoke([HumanMessage("?"), llm.invoke("?"), HumanMessage("!")])
    assert "<think>a</think>b<|im_end|>" in engine.requests[1].prompt
