"""Structured output: each kind of schema gives its own kind of value, and an answer that is cut gives an error and no guess."""

from __future__ import annotations

import datetime
import enum
import re
import subprocess
import sys
from typing import Annotated, Any, Literal

import pydantic.v1
import pytest
from jsonschema import Draft202012Validator
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict

from langchain_softprompt import grammars
from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import AnswerFormatError, InvalidGrammarError, InvalidSettingsError, MissingExtraError
from langchain_softprompt.testing import FakeEngine
from tests.unit_tests.chat.conftest import QUESTION, Expected

METHODS = ["json_schema", "function_calling", "json_mode"]


class Part(BaseModel):
    code: str = Field(pattern="^[A-Z]{3}$")
    weight: float | None = Field(default=None, ge=0, le=10)


class Order(BaseModel):
    """An order."""

    item: str = Field(max_length=8, description="what was ordered")
    count: int = Field(ge=1, le=20)
    express: bool
    parts: list[Part] = Field(max_length=2)
    kind: Literal["new", "used"]


class OldPart(pydantic.v1.BaseModel):
    code: str = pydantic.v1.Field(regex="^[A-Z]{3}$")


class OldOrder(pydantic.v1.BaseModel):
    item: str = pydantic.v1.Field(max_length=8)
    part: OldPart = pydantic.v1.Field(description="The description makes it an allOf of one reference.")
    count: int = pydantic.v1.Field(ge=1, le=20)


class OrderDict(TypedDict):
    """An order."""

    kind: Annotated[Literal["new", "used"], ..., "which"]
    express: Annotated[bool, ..., "how fast"]


class Colour(enum.Enum):
    RED = "red"
    GREEN = "grün"
    THREE = 3


class Size(enum.StrEnum):
    S = "small"
    L = "large"


TOOL = {
    "type": "function",
    "function": {
        "name": "order",
        "parameters": {"type": "object", "properties": {"express": {"type": "boolean"}}, "required": ["express"]},
    },
}


@pytest.fixture
def llm(engine: Engine) -> ChatSoftPrompt:
    """Sampling, as a random model's likeliest token is the same for ever."""
    return ChatSoftPrompt(model="tiny", engine=engine, max_tokens=300, temperature=1.0, seed=1)


@pytest.mark.parametrize("method", METHODS)
def test_each_kind_of_schema_gives_its_own_kind_of_value(llm: ChatSoftPrompt, expected: Expected, method: Any) -> None:
    wearing = llm.with_soft_prompt(expected.a)
    for seed in range(3):
        order = wearing.with_structured_output(Order, method=method).invoke(QUESTION, seed=seed)
        assert isinstance(order, Order)
        assert isinstance(wearing.with_structured_output(OldOrder, method=method).invoke(QUESTION, seed=seed), OldOrder)
        plain = wearing.with_structured_output(Order.model_json_schema(), method=method).invoke(QUESTION, seed=seed)
        assert not list(Draft202012Validator(Order.model_json_schema()).iter_errors(plain))
        assert set(plain) == {"item", "count", "express", "parts", "kind"}
        assert set(wearing.with_structured_output(OrderDict, method=method).invoke(QUESTION, seed=seed)) == {"kind", "express"}
        assert set(wearing.with_structured_output(TOOL, method=method).invoke(QUESTION, seed=seed)) == {"express"}
        assert wearing.with_structured_output(Colour, method=method).invoke(QUESTION, seed=seed) in Colour
        assert wearing.with_structured_output(Size, method=method).invoke(QUESTION, seed=seed) in Size
        assert wearing.with_structured_output(Literal["yes", 2, False], method=method).invoke(QUESTION, seed=seed) in ("yes", 2, False)
        date = wearing.with_structured_output(re.compile(r"\d{4}-(0[1-9]|1[0-2])"), method=method).invoke(QUESTION, seed=seed)
        assert re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", date)


def test_every_choice_can_come_and_stands_for_its_own_value(llm: ChatSoftPrompt) -> None:
    choose = llm.with_structured_output(Colour, temperature=5.0)
    assert {choose.invoke(QUESTION, seed=seed) for seed in range(40)} == set(Colour)


def test_any_json_object_without_a_schema() -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(['{"a": [1, 2]}']))
    assert llm.with_structured_output(None, method="json_mode").invoke(QUESTION) == {"a": [1, 2]}


async def test_async_calls_and_batches_give_the_same_as_calls(llm: ChatSoftPrompt) -> None:
    held = llm.with_structured_output(Order)
    order = held.invoke(QUESTION)
    assert await held.ainvoke(QUESTION) == order
    assert held.batch([QUESTION, QUESTION]) == [order, order]
    assert [part async for part in held.astream(QUESTION)][-1] == order


def test_it_stands_in_a_chain_behind_a_prompt_and_keeps_what_was_bound(llm: ChatSoftPrompt, expected: Expected) -> None:
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    one = (prompt | llm.with_soft_prompt(expected.a).with_structured_output(Order)).invoke({"question": QUESTION})
    bound = llm.bind(soft_prompt=expected.a, seed=7).with_structured_output(Order)
    assert one != bound.invoke(QUESTION)
    assert bound.invoke(QUESTION) == llm.with_soft_prompt(expected.a).with_structured_output(Order, seed=7).invoke(QUESTION)
    assert llm.bind(max_tokens=300).with_structured_output(Order).invoke(QUESTION) == llm.with_structured_output(Order).invoke(QUESTION)
    with pytest.raises(AnswerFormatError):
        llm.bind(max_tokens=2).with_structured_output(Order).invoke(QUESTION)


# Streams.


def test_a_stream_gives_more_and_more_of_the_object(llm: ChatSoftPrompt) -> None:
    parts = list(llm.with_structured_output(Order.model_json_schema()).stream(QUESTION))
    whole = llm.with_structured_output(Order.model_json_schema()).invoke(QUESTION)
    assert parts[0] == {}
    assert parts[-1] == whole
    assert len(parts) > 5
    keys = [list(part) for part in parts]
    assert all(keys[-1][: len(some)] == some for some in keys), "in the schema's order"


def test_a_stream_gives_a_pydantic_object_as_soon_as_there_is_one(llm: ChatSoftPrompt) -> None:
    parts = list(llm.with_structured_output(Order).stream(QUESTION))
    assert all(isinstance(part, Order) for part in parts)
    assert parts[-1] == llm.with_structured_output(Order).invoke(QUESTION)


def test_a_stream_of_a_pattern_gives_its_text_in_pieces(llm: ChatSoftPrompt) -> None:
    pieces = list(llm.with_structured_output(re.compile(r"[a-z]{6}")).stream(QUESTION))
    assert len(pieces) > 2
    assert "".join(pieces) == llm.with_structured_output(re.compile(r"[a-z]{6}")).invoke(QUESTION)


def test_a_stream_that_is_cut_gives_what_there_was_and_then_the_error(llm: ChatSoftPrompt) -> None:
    seen = []
    with pytest.raises(AnswerFormatError) as caught:
        seen.extend(llm.with_structured_output(Order.model_json_schema(), max_tokens=15).stream(QUESTION))
    assert seen[0] == {}
    assert (caught.value.reason, len(caught.value.text)) == ("length", 15)


# Answers that are cut, or do not fit.


@pytest.mark.parametrize("schema", [Order, Order.model_json_schema(), OrderDict, Colour, re.compile("[a-z]{9}")])
async def test_an_answer_cut_by_the_token_limit_is_an_error_that_says_so(llm: ChatSoftPrompt, schema: Any) -> None:
    held = llm.with_structured_output(schema, max_tokens=2)
    for call in (lambda: held.invoke(QUESTION), lambda: list(held.stream(QUESTION)), lambda: held.batch([QUESTION])):
        with pytest.raises(AnswerFormatError, match="cut by max_tokens before it was complete"):
            call()
    with pytest.raises(AnswerFormatError, match="Raise max_tokens"):
        await held.ainvoke(QUESTION)


def test_a_stop_string_that_cuts_the_answer_is_an_error_that_says_so(llm: ChatSoftPrompt) -> None:
    with pytest.raises(AnswerFormatError, match=r"A stop string cut the answer") as caught:
        llm.invoke(QUESTION, stop=["count"], response_format=_format(Order))
    assert caught.value.reason == "stop_sequence"


def test_an_answer_that_does_not_fit_is_an_error_that_says_where() -> None:
    """A real engine gives none; a fake one is not held to the grammar."""
    held = ChatSoftPrompt(model="fake", engine=FakeEngine(['{"kind":"old","express":true}'])).with_structured_output(OrderDict)
    with pytest.raises(AnswerFormatError, match=r"does not fit its JSON schema: at \$\.kind") as caught:
        held.invoke(QUESTION)
    assert (caught.value.reason, caught.value.text) == ("schema", '{"kind":"old","express":true}')


class Even(BaseModel):
    number: int = Field(ge=0, le=9)

    @field_validator("number")
    @classmethod
    def _even(cls, number: int) -> int:
        if number % 2:
            msg = "odd"
            raise ValueError(msg)
        return number


def test_include_raw_gives_the_answer_beside_the_value_and_raises_for_none_that_can_not_be_read(llm: ChatSoftPrompt) -> None:
    whole = llm.with_structured_output(Order, include_raw=True).invoke(QUESTION)
    assert set(whole) == {"raw", "parsed", "parsing_error"}
    assert isinstance(whole["raw"], AIMessage)
    assert whole["parsed"] == Order.model_validate_json(whole["raw"].text)
    assert whole["parsing_error"] is None
    for schema in (Order, Order.model_json_schema(), Colour, re.compile("[a-z]{9}")):
        cut = llm.with_structured_output(schema, include_raw=True, max_tokens=2).invoke(QUESTION)
        assert cut["raw"].response_metadata["finish_reason"] == "length"
        assert cut["parsed"] is None
        assert isinstance(cut["parsing_error"], AnswerFormatError)
    streamed = list(llm.with_structured_output(Order, include_raw=True).stream(QUESTION))
    assert {"raw", "parsed", "parsing_error"} <= {key for part in streamed for key in part}


def test_a_validator_of_the_class_may_still_refuse() -> None:
    engine = FakeEngine(['{"number":3}'])
    llm = ChatSoftPrompt(model="fake", engine=engine)
    with pytest.raises(ValueError, match="Failed to parse Even from completion"):
        llm.with_structured_output(Even).invoke(QUESTION)
    assert "odd" in str(llm.with_structured_output(Even, include_raw=True).invoke(QUESTION)["parsing_error"])


def test_a_number_too_long_for_python_is_an_error_and_not_a_crash() -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(['{"n":' + "1" * 5000 + "}"]), max_tokens=9000)
    held = llm.with_structured_output({"type": "object", "properties": {"n": {"type": "integer"}}})
    with pytest.raises(AnswerFormatError, match="can't be read as JSON"):
        held.invoke(QUESTION)
    with pytest.raises(AnswerFormatError, match="can't be read as JSON"):
        list(held.stream(QUESTION))


def test_a_strict_class_takes_dates_from_json() -> None:
    class When(BaseModel):
        model_config = ConfigDict(strict=True)
        day: datetime.date

    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(['{"day":"2024-02-29"}']))
    assert llm.with_structured_output(When).invoke(QUESTION) == When(day=datetime.date(2024, 2, 29))


# What is asked for.


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        (int, "can't take <class 'int'> as a schema"),
        ("object", "can't take 'object'"),
        (re.compile(b"x"), "over bytes"),
        (re.compile("x", re.VERBOSE), "VERBOSE"),
        (re.compile("(?=x)"), "look-around"),
        (Literal["1", 1], "written alike"),
        (enum.Enum("Odd", {"A": (1, 2)}), "not tuple"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ],
)
def test_what_can_not_be_a_schema_is_refused_before_any_call(schema: Any, sentence: str) -> None:
    with pytest.raises(InvalidGrammarError, match=sentence):
        ChatSoftPrompt(model="embedded").with_structured_output(schema)


def test_unknown_method_missing_schema_and_misspelt_argument_are_refused() -> None:
    llm = ChatSoftPrompt(model="embedded")
    with pytest.raises(InvalidSettingsError, match="one of 'json_schema', 'function_calling', 'json_mode', found 'jsonmode'"):
        llm.with_structured_output(Order, method="jsonmode")  # type: ignore[arg-type]
    with pytest.raises(InvalidSettingsError, match="needs a schema"):
        llm.with_structured_output(None)
    with pytest.raises(InvalidSettingsError, match="'softprompt'"):
        llm.with_structured_output(Order, softprompt="x")


@pytest.mark.parametrize(("flags", "takes"), [(re.IGNORECASE, "ABC"), (re.DOTALL, "abc"), (re.IGNORECASE | re.DOTALL, "aBc")])
def test_flags_of_a_pattern_are_followed(llm: ChatSoftPrompt, flags: int, takes: str) -> None:
    pattern = re.compile("a.c", flags)
    texts = {llm.with_structured_output(pattern).invoke(QUESTION, seed=seed) for seed in range(12)}
    assert all(pattern.fullmatch(text) for text in texts)
    assert pattern.fullmatch(takes)
    assert len(texts) > 1


def test_strict_false_lets_objects_hold_more() -> None:
    schema = {"title": "S", "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    engine = FakeEngine(['{"a":1,"b":2}'])
    llm = ChatSoftPrompt(model="fake", engine=engine)
    for strict in (None, True, False):
        assert llm.with_structured_output(schema, strict=strict).invoke(QUESTION) == {"a": 1, "b": 2}
        closed = engine.requests[-1].constraint
        state: Any = closed.start(frozenset({0}))  # type: ignore[union-attr]
        allowed = []
        for token in engine.model.tokenizer.encode('{"a":1,"b":2}', add_special_tokens=False):
            allowed.append(bool(state.mask(300)[token]))
            if not allowed[-1]:
                break
            state.accept(token)
        assert all(allowed) is (strict is False)


# response_format.


def _format(schema: type[BaseModel], **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema.model_json_schema(), **more}}


def test_response_format_in_a_call_and_bound_holds_the_answer(llm: ChatSoftPrompt) -> None:
    called = llm.invoke(QUESTION, response_format=_format(Order))
    assert Order.model_validate_json(called.text)
    assert llm.bind(response_format=_format(Order)).invoke(QUESTION).text == called.text
    assert "".join(chunk.text for chunk in llm.stream(QUESTION, response_format=_format(Order, strict=True))) == called.text
    assert llm.invoke(QUESTION, response_format={"type": "choice", "choices": ["a", "b"]}).text in "ab"
    grammar = {"type": "grammar", "syntax": "lark", "definition": 'start: "x" | "y" start'}
    assert re.fullmatch("y*x", llm.invoke(QUESTION, response_format=grammar).text)
    assert llm.invoke(QUESTION, response_format={"type": "text"}).text == llm.invoke(QUESTION).text


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("json", "found a str"),
        ({"type": "json"}, "found type 'json'"),
        ({"type": ["json"]}, "found type"),
        ({}, "found type None"),
        ({"type": "json_schema"}, "without a schema"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "without a schema"),
        ({"type": "choice", "choices": "ab"}, "list of texts"),
        ({"type": "choice", "choices": [1]}, "list of texts"),
        ({"type": "grammar", "syntax": "gbnf", "definition": "x"}, "'lark' or 'regex'"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}, "not"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": object()}}, "can't be written as JSON"),
    ],
)
def test_a_response_format_of_no_known_form_is_refused_in_a_call_and_at_bind(wrong: Any, sentence: str) -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine())
    for call in (lambda: llm.invoke(QUESTION, response_format=wrong), lambda: llm.bind(response_format=wrong)):
        with pytest.raises((InvalidSettingsError, InvalidGrammarError), match=sentence):
            call()


def test_allow_invalid_hands_out_what_there_is(llm: ChatSoftPrompt) -> None:
    answer = llm.invoke(QUESTION, response_format=_format(Order), allow_invalid=True, max_tokens=4)
    assert (answer.response_metadata["finish_reason"], len(answer.text)) == ("length", 4)


def test_the_schema_is_shown_beside_tools_where_a_call_or_an_answer_has_to_be_chosen() -> None:
    """Unless one says otherwise; not where a tool has to be called."""
    engine = FakeEngine(['{"kind":"new","express":true}'])
    llm = ChatSoftPrompt(model="fake", engine=engine)
    tool = {"name": "stock", "description": "What there is.", "parameters": {"type": "object", "properties": {}}}
    held = {"response_format": _format(Order), "allow_invalid": True}
    for more in ({}, {"show_schema": False}, {"tool_choice": "any"}, {"show_schema": True, "tool_choice": "any"}):
        llm.bind_tools([tool]).bind(**more).invoke(QUESTION, **held)  # type: ignore[arg-type]
    assert ["fits this JSON schema" in request.prompt for request in engine.requests] == [True, False, False, True]


def test_without_tools_the_schema_is_shown_only_when_asked_for() -> None:
    engine = FakeEngine(['{"kind":"new","express":true}'])
    held = ChatSoftPrompt(model="fake", engine=engine).with_structured_output(OrderDict)
    shown = ChatSoftPrompt(model="fake", engine=engine).with_structured_output(OrderDict, show_schema=True)
    held.invoke(QUESTION)
    shown.invoke(QUESTION)
    shown.invoke([SystemMessage("Be brief."), HumanMessage(QUESTION)])
    plain, alone, added = (request.prompt for request in engine.requests)
    assert "schema" not in plain
    assert '<|im_start|>system\nAnswer with JSON that fits this JSON schema, and nothing else: {"title":"OrderDict",' in alone
    assert "<|im_start|>system\nBe brief.\n\nAnswer with JSON that fits" in added
    assert alone.count("<|im_start|>user") == added.count("<|im_start|>user") == 1


def test_two_schemas_never_share_an_answer_in_the_cache() -> None:
    """Not even two that differ in the order of their properties, which is the order of the answer."""
    one, two = ({"type": "object", "properties": {name: {"type": "integer"} for name in names}} for names in ("ab", "ba"))
    engine = FakeEngine(["{}"])
    llm = ChatSoftPrompt(model="fake", engine=engine, cache=InMemoryCache())
    for schema in (one, two, {**one, "required": ["a"]}):
        for _ in range(2):
            llm.with_structured_output(schema, include_raw=True).invoke(QUESTION)
            llm.with_structured_output(schema, include_raw=True, show_schema=True).invoke(QUESTION)
    llm.invoke(QUESTION)
    assert len(engine.requests) == 7


def test_traces_are_told_the_schema(llm: ChatSoftPrompt) -> None:
    held = llm.with_structured_output(Size)
    assert held.first.kwargs["ls_structured_output_format"] == {  # type: ignore[attr-defined]
        "kwargs": {"method": "json_schema", "strict": None},
        "schema": {"title": "Size", "type": "string", "enum": ["small", "large"]},
    }


# Agents, and without the extra.


@pytest.mark.parametrize("response_format", [Order, ProviderStrategy(Order), ProviderStrategy(Order, strict=True)])
async def test_an_agent_binds_the_schema_and_gives_the_object(llm: ChatSoftPrompt, expected: Expected, response_format: Any) -> None:
    agent = create_agent(llm.with_soft_prompt(expected.a), tools=[], response_format=response_format)
    assert isinstance(agent.invoke({"messages": [("user", QUESTION)]})["structured_response"], Order)
    assert isinstance((await agent.ainvoke({"messages": [("user", QUESTION)]}))["structured_response"], Order)


def test_an_agent_whose_answer_is_cut_gets_the_error_that_says_so(llm: ChatSoftPrompt) -> None:
    agent = create_agent(llm.model_copy(update={"max_tokens": 3}), tools=[], response_format=Order)
    with pytest.raises(AnswerFormatError, match="cut by max_tokens"):
        agent.invoke({"messages": [("user", QUESTION)]})


def test_no_tools_and_a_format_are_the_format_alone(llm: ChatSoftPrompt) -> None:
    assert Order.model_validate_json(llm.bind_tools([], response_format=_format(Order)).invoke(QUESTION).text)


def test_without_llguidance_the_profile_says_no_and_a_schema_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ChatSoftPrompt(model="embedded").profile["structured_output"] is True  # type: ignore[index]
    monkeypatch.setattr(grammars, "available", lambda: False)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine())
    assert llm.profile["structured_output"] is False  # type: ignore[index]
    unseen = {"type": "object", "properties": {"never asked before": {"type": "null"}}}
    with pytest.raises(MissingExtraError, match=r"pip install 'langchain-softprompt\[structured\]'"):
        llm.with_structured_output(unseen)
    with pytest.raises(MissingExtraError, match=r"pip install"):
        llm.invoke(QUESTION, response_format={"type": "json_schema", "json_schema": {"schema": unseen}})
    assert llm.invoke(QUESTION).text == "OK"


def test_holding_to_a_schema_loads_no_torch_before_the_first_call() -> None:
    """In a new process, since this one has loaded torch for other tests."""
    program = (
        "import sys\nfrom langchain_softprompt import ChatSoftPrompt\n"
        "ChatSoftPrompt(model='embedded').with_structured_output({'type': 'object', 'properties': {'a': {'type': 'integer'}}})\n"
        "print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_tool_that_is_called_in_place_of_the_structured_answer_is_named() -> None:
    """The answer is not empty JSON: the tool has to be run first."""
    schema = {"title": "Tide", "type": "object", "properties": {"metres": {"type": "number"}}, "required": ["metres"]}
    tool = {"title": "tide_at", "description": "The tide.", "type": "object", "properties": {"port": {"type": "string"}}}
    engine = FakeEngine(['<tool_call>\n{"name": "tide_at", "arguments": {"port": "Brest"}}\n</tool_call>'])
    dressed = ChatSoftPrompt(model="fake", engine=engine).bind_tools([tool]).with_structured_output(schema)
    with pytest.raises(AnswerFormatError, match="tide_at") as caught:
        dressed.invoke("The tide at Brest?")
    assert caught.value.reason == "tool_calls"
