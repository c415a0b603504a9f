"""An answer that has to be a call is one, whatever the model would have liked to say."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, create_model

from langchain_softprompt import grammars
from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import InvalidGrammarError, MissingExtraError
from langchain_softprompt.tool_calls import KNOWN_FORMATS, Frame
from tests.unit_tests.chat.conftest import Expected
from tests.unit_tests.chat.streams import merged


@tool
def order(dish: str = Field(max_length=5), number: int = Field(ge=1, le=99)) -> str:
    """Order something to eat."""
    return f"{number} {dish}"


@tool
def bill() -> str:
    """Ask for the bill."""
    return "12 euros"


Size: Any = create_model("Size", __doc__="A size.", größe=(str, Field(pattern="^(klein|groß)$")))  # type: ignore[call-overload]
TOOLS = [order, bill, Size]
SCHEMAS = {function["name"]: function["parameters"] for function in (convert_to_openai_tool(entry)["function"] for entry in TOOLS)}


# A letter that random weights write now and then opens a call.
ONE_LETTER = replace(KNOWN_FORMATS["hermes"], opening="9", closing=";", frame=Frame("9", "", ";"))


@pytest.fixture
def llm(engine: Engine) -> ChatSoftPrompt:
    """A model that writes nonsense, and would never call a tool by itself."""
    return ChatSoftPrompt(model="tiny", engine=engine, max_tokens=200, temperature=1.0, seed=0)


def check(answer: AIMessage | AIMessageChunk, name: str | None = None) -> None:
    """The answer is calls of the tools and nothing else, and their arguments fit."""
    assert answer.tool_calls
    assert answer.text == ""
    assert not answer.invalid_tool_calls
    assert answer.response_metadata["finish_reason"] == "tool_calls"
    for call in answer.tool_calls:
        assert name in (None, call["name"])
        jsonschema.validate(call["args"], SCHEMAS[call["name"]])


@pytest.mark.parametrize("tool_format", sorted(KNOWN_FORMATS))
@pytest.mark.parametrize("seed", range(3))
def test_any_tool_is_called_in_every_format(llm: ChatSoftPrompt, tool_format: str, seed: int) -> None:
    """Calls come out of random weights whose arguments jsonschema finds in order."""
    bound = llm.model_copy(update={"tool_format": tool_format, "seed": seed}).bind_tools(
        TOOLS, tool_choice="any", parallel_tool_calls=False
    )
    answer = bound.invoke("Hello!")
    check(answer)
    assert len(answer.tool_calls) == 1


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("choice", [lambda name: name, lambda name: {"type": "function", "function": {"name": name}}])
def test_the_named_tool_is_called(llm: ChatSoftPrompt, name: str, choice: Any) -> None:
    """By name or by OpenAI's dictionary; no other, and once."""
    answer = llm.bind_tools(TOOLS, tool_choice=choice(name)).invoke("Hello!")
    check(answer, name)
    assert len(answer.tool_calls) == 1


def test_streams_and_async_are_held_too(llm: ChatSoftPrompt) -> None:
    """The same calls as of invoke."""
    bound = llm.bind_tools(TOOLS, tool_choice="required", parallel_tool_calls=False)
    whole = bound.invoke("Hello!")
    stream = merged(bound.stream("Hello!"))
    later = asyncio.run(bound.ainvoke("Hello!"))
    for answer in (whole, stream, later):
        check(answer)
        assert [(call["name"], call["args"]) for call in answer.tool_calls] == [(call["name"], call["args"]) for call in whole.tool_calls]


def test_a_forced_call_wears_its_soft_prompt(llm: ChatSoftPrompt, expected: Expected) -> None:
    """Neither loses the other, whichever is chosen first."""
    for bound in (
        llm.with_soft_prompt(expected.a).bind_tools(TOOLS, tool_choice="bill"),
        llm.bind_tools(TOOLS, tool_choice="bill").with_soft_prompt(expected.a),  # type: ignore[attr-defined]
    ):
        answer = bound.invoke("Hello!")
        check(answer)
        assert answer.response_metadata["soft_prompt"] == expected.a


def test_a_call_that_the_token_limit_cuts_is_invalid_and_says_so(llm: ChatSoftPrompt) -> None:
    """Half a call is never run."""
    answer = llm.bind_tools(TOOLS, tool_choice="any").invoke("Hello!", max_tokens=30)
    assert not answer.tool_calls
    assert answer.invalid_tool_calls
    assert answer.response_metadata["finish_reason"] == "length"


def test_without_llguidance_only_forced_calls_are_refused(llm: ChatSoftPrompt, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra; tools that the model may call need none."""
    monkeypatch.setattr(grammars, "available", lambda: False)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    assert llm.bind_tools(TOOLS).invoke("Hello!").text
    with pytest.raises(MissingExtraError, match="structured"):
        llm.bind_tools(TOOLS, tool_choice="any").invoke("Hello!")


def test_tool_strategy_of_an_agent_gives_its_object(llm: ChatSoftPrompt) -> None:
    """LangChain binds the schema as a tool that has to be called."""
    agent = create_agent(llm.bind(parallel_tool_calls=False), tools=[], response_format=ToolStrategy(Size))  # type: ignore[arg-type]
    assert agent.invoke({"messages": [HumanMessage("Hello!")]})["structured_response"].model_dump()["größe"] in ("klein", "groß")


def test_a_format_beside_tools_is_held_to_as_it_is_without_them(llm: ChatSoftPrompt) -> None:
    """Objects are closed, and a format that nobody knows is a remark."""
    schema = {"type": "object", "properties": {"n": {"type": "string", "maxLength": 3, "format": "of-mine"}}, "required": ["n"]}
    held = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    answers = [llm.bind_tools([bill], response_format=held).invoke("Hello!", seed=seed, max_tokens=40) for seed in range(12)]
    objects = [json.loads(answer.text) for answer in answers if not answer.tool_calls + answer.invalid_tool_calls]
    assert objects
    assert all(set(one) == {"n"} for one in objects)


def test_provider_strategy_with_tools_gives_calls_or_its_object(llm: ChatSoftPrompt) -> None:
    """Each step is a call of a tool or the object, and in the end the object is there."""
    called = answered = 0
    for seed in range(12):
        agent: Any = create_agent(llm.model_copy(update={"seed": seed}), tools=[bill], response_format=ProviderStrategy(Size))
        for step in agent.stream({"messages": [HumanMessage("Hello!")]}, config={"recursion_limit": 5}, stream_mode="values"):
            message = step["messages"][-1]
            if isinstance(message, ToolMessage):
                called += 1
                break
            if step.get("structured_response") is not None:
                assert step["structured_response"].model_dump()["größe"] in ("klein", "groß")
                answered += 1
                break
    assert called
    assert answered
    assert called + answered == 12


def test_tools_that_are_only_offered_hold_what_follows_an_opening_mark(llm: ChatSoftPrompt) -> None:
    """Behind it stand calls that can be read, if the token limit lets them end; text is free."""
    seen = set()
    for seed in range(20):
        chosen = llm.model_copy(update={"tool_format": ONE_LETTER, "seed": seed, "max_tokens": 120})
        answer = chosen.bind_tools([bill], parallel_tool_calls=False).invoke("Hello!")
        seen.add(bool(answer.tool_calls))
        assert answer.tool_calls or answer.text or answer.response_metadata["finish_reason"] == "length"
        for broken in answer.invalid_tool_calls:
            assert answer.response_metadata["finish_reason"] == "length", broken
    assert seen == {True, False}


def test_a_tool_that_no_grammar_can_hold_leaves_offers_free_and_refuses_force(llm: ChatSoftPrompt) -> None:
    """Offering needs no grammar; an answer that has to be a call can't do without."""
    odd = {"type": "function", "function": {"name": "odd", "parameters": {"type": "object", "properties": {"a": {"not": {}}}}}}
    assert llm.bind_tools([odd]).invoke("Hello!").text
    with pytest.raises(InvalidGrammarError):
        llm.bind_tools([odd], tool_choice="any").invoke("Hello!")


def test_a_format_that_no_grammar_knows_is_a_remark(llm: ChatSoftPrompt) -> None:
    """As it is to JSON Schema."""
    dated = {"type": "object", "properties": {"day": {"type": "string", "format": "moon-phase", "maxLength": 4}}, "required": ["day"]}
    answer = llm.bind_tools([{"type": "function", "function": {"name": "moon", "parameters": dated}}], tool_choice="moon").invoke("Hello!")
    assert set(answer.tool_calls[0]["args"]) == {"day"}
