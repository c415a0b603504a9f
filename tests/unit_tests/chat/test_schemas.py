"""Schemas that are less usual: typed dictionaries with keys that may be left out, sets, a list of types at the root."""

from __future__ import annotations

import enum
import json
import re
import typing
from typing import Annotated, Any, Literal, NotRequired, Required

import pytest
import typing_extensions
from pydantic import BaseModel, Field

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.chat_models.typed_dicts import typed_dict_schema
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import AnswerFormatError, InvalidGrammarError
from langchain_softprompt.testing import FakeEngine
from tests.unit_tests.chat.conftest import QUESTION


class Place(typing_extensions.TypedDict, total=False):
    city: Required[Literal["Oslo", "Rome"]]
    indoors: bool


class OldPlace(typing.TypedDict, total=False):
    city: typing.Required[typing.Literal["Oslo", "Rome"]]
    indoors: bool


class Visit(typing_extensions.TypedDict):
    """A visit."""

    place: Place
    more: NotRequired[Annotated[list[Place], Field(max_length=1)]]
    urgent: NotRequired[Annotated[bool, ..., "whether it can't wait"]]
    pair: tuple[bool, bool]


class OldVisit(typing.TypedDict):
    """A visit."""

    place: OldPlace
    more: typing.NotRequired[typing.Annotated[list[OldPlace], Field(max_length=1)]]
    urgent: typing.NotRequired[typing.Annotated[bool, ..., "whether it can't wait"]]
    pair: tuple[bool, bool]


class Branch(typing_extensions.TypedDict):
    leaf: bool
    next: Branch | None


class Plain(typing_extensions.TypedDict):
    on: bool


@pytest.mark.parametrize("kind", [Visit, OldVisit])
def test_a_typed_dict_may_have_keys_that_may_be_left_out(engine: Engine, kind: Any) -> None:
    """Of typing and of typing_extensions, nested, with tuples and descriptions."""
    schema = typed_dict_schema(kind)
    assert schema["required"] == ["place", "pair"]
    assert schema["description"] == "A visit."
    assert schema["properties"]["urgent"]["description"] == "whether it can't wait"
    held = ChatSoftPrompt(model="tiny", engine=engine, max_tokens=300, temperature=1.0).with_structured_output(kind)
    for seed in range(4):
        visit = held.invoke(QUESTION, seed=seed)
        assert visit["place"]["city"] in ("Oslo", "Rome")
        assert set(visit) <= {"place", "more", "urgent", "pair"}
        assert [type(part) for part in visit["pair"]] == [bool, bool]


def test_a_typed_dict_may_refer_to_itself(engine: Engine) -> None:
    held = ChatSoftPrompt(model="tiny", engine=engine, max_tokens=300, temperature=1.0).with_structured_output(Branch)
    assert set(held.invoke(QUESTION, seed=1)) == {"leaf", "next"}


def test_a_typed_dict_without_a_docstring_is_not_described_by_that_of_dict() -> None:
    """Neither to a grammar nor to a model that is offered it as a tool."""
    assert "description" not in typed_dict_schema(Plain)
    fake = FakeEngine()
    ChatSoftPrompt(model="fake", engine=fake).bind_tools([Plain, Visit]).invoke(QUESTION)
    assert "new empty dictionary" not in fake.requests[0].prompt
    assert "whether it can't wait" in fake.requests[0].prompt


def test_a_typed_dict_that_has_no_schema_is_refused_with_its_name() -> None:
    class Odd(typing_extensions.TypedDict):
        what: NotRequired[enum.auto]

    with pytest.raises(InvalidGrammarError, match="Odd can't be written as a JSON schema"):
        ChatSoftPrompt(model="embedded").with_structured_output(Odd)


class Tags(BaseModel):
    tags: set[Literal["a", "b"]] = Field(max_length=3)
    fixed: frozenset[Literal["c"]] = Field(max_length=2)


def test_a_set_takes_what_comes_twice() -> None:
    """No grammar can hold to `uniqueItems`, and a set needs none."""
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(['{"tags":["a","a"],"fixed":["c","c"]}']))
    assert llm.with_structured_output(Tags).invoke(QUESTION) == Tags(tags={"a"}, fixed=frozenset({"c"}))


def test_unique_items_that_are_not_asked_for_are_no_keyword() -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(["[1,1]"]))
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": False}
    assert llm.with_structured_output(schema).invoke(QUESTION) == [1, 1]


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"type": ["integer", "null"]}, "3"),
        ({"type": ["object", "null"], "properties": {"a": {"type": "integer"}}}, '{"a":3}'),
        ({}, "3"),
        ({"enum": [1, "a"]}, '"a"'),
        ({"title": "Number", "type": "integer"}, "3"),
        (Plain, '{"on":true}'),
        (Visit, '{"place":{"city":"Oslo"},"pair":[true,false]}'),
    ],
)
def test_any_schema_can_be_traced(schema: Any, answer: str) -> None:
    """LangChain describes it as a tool in traces, and failed over a list of types at its root."""
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine([answer]))
    assert llm.with_structured_output(schema).invoke(QUESTION) == json.loads(answer)


def test_an_answer_that_python_s_pattern_does_not_match_is_an_error_that_says_so() -> None:
    """Rust, whose patterns hold the answer, may know more digits than this Python; here it is a letter."""
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(["1a"]))
    held = llm.with_structured_output(re.compile(r"\d+"))
    with pytest.raises(AnswerFormatError, match="Python's do not match it"):
        held.invoke(QUESTION)
    with pytest.raises(AnswerFormatError, match="Python's do not match it"):
        list(held.stream(QUESTION))
    assert isinstance(llm.with_structured_output(re.compile(r"\d+"), include_raw=True).invoke(QUESTION)["parsing_error"], AnswerFormatError)


def test_a_number_that_python_takes_for_infinity_is_an_error() -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(['{"n":-1e999}']))
    with pytest.raises(AnswerFormatError, match="-1e999 is too large"):
        llm.with_structured_output({"type": "object", "properties": {"n": {"type": "number"}}}).invoke(QUESTION)
