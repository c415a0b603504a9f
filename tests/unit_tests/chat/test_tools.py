"""Tools: what reaches the model, and what comes back as calls."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableBinding
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_softprompt.chat_models import ChatSoftPrompt, UnknownArgumentError
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.testing import FakeEngine, tiny_tokenizer
from langchain_softprompt.tool_calls import Frame, ToolCall, ToolFormat
from tests.unit_tests.chat.streams import merged

# Knows tools, calls and answers, in its own way.
KNOWING = (
    "{% if tools %}<|im_start|>system\nTOOLS {% for tool in tools %}{{ tool.function | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>{{ call.function.name }} "
    "{{ call.function.arguments | tojson }} {{ call.id }}</tool_call>"
    "{% endfor %}{% if message.role == 'tool' %} of {{ message.name }} {{ message.tool_call_id }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


@tool
def get_weather(city: str, days: int = 1) -> str:
    """The weather of a place."""
    return f"Rain in {city} for {days} days."


@tool
def get_time() -> str:
    """The time."""
    return "12:00"


class Add(BaseModel):
    """Add two numbers."""

    a: int = Field(description="The first.")
    b: int


TOOLS = [get_weather, get_time, Add]
TWIN = {
    "type": "function",
    "function": {"name": "get_time", "description": "Another one.", "parameters": {"type": "object", "properties": {}}},
}


def chat(*answers: str, template: str | None = None, **fields: Any) -> tuple[ChatSoftPrompt, FakeEngine]:
    """A chat model that answers from a script; the default template knows no tools."""
    engine = FakeEngine(answers or ["OK"], tokenizer=tiny_tokenizer(chat_template=template) if template else None)
    return ChatSoftPrompt(model="fake", engine=engine, **{"max_tokens": 500, **fields}), engine


def test_bind_tools_is_a_binding_that_the_soft_prompt_survives() -> None:
    """LangChain's own tools run on it, and `with_soft_prompt` before or after it both count."""
    llm, _ = chat()
    assert isinstance(llm.bind_tools(TOOLS), RunnableBinding)
    assert llm.with_soft_prompt("acme/a").bind_tools(TOOLS).bound.soft_prompt == "acme/a"  # type: ignore[attr-defined]
    assert llm.bind_tools(TOOLS).with_soft_prompt("acme/a").bound.soft_prompt == "acme/a"  # type: ignore[attr-defined]
    assert llm.bind(temperature=0.5).bind_tools(TOOLS).kwargs["temperature"] == 0.5  # type: ignore[attr-defined]


def test_template_that_knows_no_tools_has_them_told_in_the_system_message() -> None:
    """Names, descriptions and schemas are in the prompt, behind the system message there is."""
    llm, engine = chat()
    llm.bind_tools(TOOLS).invoke([SystemMessage("Be kind."), HumanMessage("Hi")])
    prompt = engine.requests[0].prompt
    system = prompt.split("<|im_end|>")[0]
    assert system.startswith("<|im_start|>system\nBe kind.\n\nYou can call these tools")
    for said in ("get_weather", "The weather of a place.", "get_time", "Add two numbers.", "The first."):
        assert said in system
    llm.bind_tools(TOOLS).invoke("Hi")
    assert engine.requests[1].prompt.startswith("<|im_start|>system\nYou can call")


def test_template_that_knows_tools_is_given_them() -> None:
    """The template's own words are used, and nothing is said twice."""
    llm, engine = chat(template=KNOWING)
    llm.bind_tools([get_time]).invoke("Hi")
    assert engine.requests[0].prompt.startswith('<|im_start|>system\nTOOLS {"name": "get_time"')
    assert "You can call" not in engine.requests[0].prompt


@pytest.mark.parametrize("template", [None, KNOWING])
def test_calls_and_answers_of_the_past_reach_the_model(template: str | None) -> None:
    """Names, arguments, contents and an error's status are in the prompt, whatever the template knows."""
    call = {"name": "get_weather", "args": {"city": "Tromsø"}, "id": "call_0123456789", "type": "tool_call"}
    history: list[BaseMessage] = [
        HumanMessage("How is it?"),
        AIMessage("I look.", tool_calls=[call]),
        ToolMessage("no such place", tool_call_id="call_0123456789", status="error"),
        HumanMessage("And now?"),
    ]
    llm, engine = chat(template=template)
    llm.invoke(history)
    prompt = engine.requests[0].prompt
    for said in ("I look.", "get_weather", "Tromsø", "Error: no such place", "And now?"):
        assert said in prompt
    assert prompt.count("get_weather") == 2  # the answer names its tool, too


def test_identifiers_are_short_for_templates_and_stay_paired() -> None:
    """Mistral's templates refuse identifiers that are not nine letters and digits."""
    call = {"name": "get_time", "args": {}, "id": "call_0123456789", "type": "tool_call"}
    llm, engine = chat(template=KNOWING)
    llm.invoke([HumanMessage("?"), AIMessage("", tool_calls=[call]), ToolMessage("12:00", tool_call_id="call_0123456789")])
    first = engine.requests[0].prompt.split("</tool_call>")[0].split()[-1]
    assert len(first) == 9
    assert f"of get_time {first}" in engine.requests[0].prompt


def test_an_answer_s_calls_are_tool_calls_and_its_text_stays() -> None:
    """Arguments are objects, every call has an identifier of its own, and the ending says why it ended."""
    llm, _ = chat(f"I look.\n{CALL}\n{CALL}")
    answer = llm.bind_tools(TOOLS).invoke("Hi")
    assert answer.text == "I look."
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("get_weather", {"city": "Oslo"})] * 2
    assert len({call["id"] for call in answer.tool_calls}) == 2
    assert answer.response_metadata["finish_reason"] == "tool_calls"
    assert get_weather.invoke(answer.tool_calls[0]).content == "Rain in Oslo for 1 days."


def test_arguments_are_brought_to_the_schema_s_types() -> None:
    """``"3"`` is 3 where an integer is wanted, and stays text where text is."""
    llm, _ = chat('{"name": "get_weather", "arguments": {"city": "3", "days": "3"}}')
    assert llm.bind_tools(TOOLS).invoke("Hi").tool_calls[0]["args"] == {"city": "3", "days": 3}


def test_without_tools_an_answer_is_text_whatever_it_looks_like() -> None:
    """Nobody asked for calls, so there are none."""
    llm, _ = chat(CALL)
    answer = llm.invoke("Hi")
    assert answer.text == CALL
    assert not answer.tool_calls
    assert answer.response_metadata["finish_reason"] == "stop"


BROKEN = 'Well.\n<tool_call>{"name": "get_weather", "arguments": {"city": </tool_call>'


def test_a_malformed_call_is_invalid_and_loses_no_text() -> None:
    """Neither invoke nor a merged stream runs half an object."""
    llm, _ = chat(BROKEN)
    bound = llm.bind_tools(TOOLS)
    for answer in (bound.invoke("Hi"), merged(bound.stream("Hi"))):
        assert answer.text == "Well."
        assert not answer.tool_calls
        (broken,) = answer.invalid_tool_calls
        assert broken["name"] == "get_weather"
        assert BROKEN.endswith(str(broken["args"]))
        assert answer.response_metadata["finish_reason"] == "stop"


def test_the_token_limit_is_told_where_it_cut_a_second_call() -> None:
    """The first call is whole; that something is missing must not go unsaid."""
    llm, _ = chat(CALL + '<tool_call>{"name": "get_time"', max_tokens=len(CALL) + 20)
    answer = llm.bind_tools(TOOLS).invoke("Hello")
    assert (len(answer.tool_calls), len(answer.invalid_tool_calls)) == (1, 1)
    assert answer.response_metadata["finish_reason"] == "length"


def test_an_invalid_call_of_the_past_is_told_as_it_was_written() -> None:
    """The model sees what it did wrong."""
    llm, engine = chat(BROKEN)
    answer = llm.bind_tools(TOOLS).invoke("Hi")
    llm.invoke([HumanMessage("Hi"), answer, HumanMessage("That was no call.")])
    assert BROKEN in engine.requests[1].prompt


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_a_merged_stream_is_what_invoke_gives(version: str) -> None:
    """Text, calls and content blocks come out the same, in both of LangChain's output versions."""
    llm, _ = chat(f"I look.\n{CALL}\n{CALL}", output_version=version)
    bound = llm.bind_tools(TOOLS)
    whole, stream = bound.invoke("Hi"), merged(bound.stream("Hi"))
    assert stream.text == whole.text
    assert [(call["name"], call["args"]) for call in stream.tool_calls] == [(call["name"], call["args"]) for call in whole.tool_calls]
    assert [block["type"] for block in stream.content_blocks] == [block["type"] for block in whole.content_blocks]
    assert [block["type"] for block in whole.content_blocks] == ["text", "tool_call", "tool_call"]
    assert stream.response_metadata["finish_reason"] == "tool_calls"


def test_async_is_the_same() -> None:
    """`ainvoke` and `astream` read calls too."""
    llm, _ = chat(CALL)
    bound = llm.bind_tools(TOOLS)

    async def both() -> tuple[AIMessage, AIMessageChunk]:
        return await bound.ainvoke("Hi"), merged([chunk async for chunk in bound.astream("Hi")])  # type: ignore[misc]

    for answer in asyncio.run(both()):
        assert [call["name"] for call in answer.tool_calls] == ["get_weather"]


@pytest.mark.parametrize("choice", ["none", {"type": "none"}])
def test_choice_none_offers_no_tools(choice: Any) -> None:
    """The model does not hear of them, and an answer is text."""
    llm, engine = chat(CALL)
    answer = llm.bind_tools(TOOLS, tool_choice=choice).invoke("Hi")
    assert "get_weather" not in engine.requests[0].prompt
    assert not answer.tool_calls


@pytest.mark.parametrize(
    ("tools", "choice", "said"),
    [
        (TOOLS, "get_wether", "expected auto, any, none, required or one of get_weather, get_time, Add"),
        (TOOLS, {"type": "function"}, "expected auto"),
        (TOOLS, 3, "expected auto"),
        ([], "any", "no tools are offered"),
        ([get_time, TWIN], None, "two are named 'get_time'"),
        ([{"type": "web_search_preview"}], None, "tools"),
        ([3], None, "can't be described"),
        ([lambda: 1], None, "expected a name"),
    ],
)
def test_what_can_not_be_meant_is_an_error_at_binding(tools: list[Any], choice: Any, said: str) -> None:
    """Before any model is asked."""
    llm, engine = chat()
    with pytest.raises(InvalidSettingsError, match=said):
        llm.bind_tools(tools, tool_choice=choice)
    assert not engine.requests


def test_a_misspelt_argument_of_bind_tools_is_an_error() -> None:
    """Nothing is dropped."""
    llm, _ = chat()
    with pytest.raises(UnknownArgumentError, match="tool_choice"):
        llm.bind_tools(TOOLS, tool_choise="any")


def test_answers_of_other_tools_are_never_taken_from_the_cache() -> None:
    """Tools and choice are part of what an answer is kept under."""
    llm, engine = chat("one", "two", "three", cache=InMemoryCache())
    answers = [llm.bind_tools(tools).invoke("Hi").text for tools in ([get_time], [get_time], TOOLS)] + [llm.invoke("Hi").text]
    assert answers == ["one", "one", "two", "three"]
    assert len(engine.requests) == 3


def test_tools_in_another_order_of_their_properties_are_others_to_the_cache() -> None:
    """The order is that of the grammar and of the prompt."""
    llm, engine = chat("a", "b", cache=InMemoryCache())
    for names in (["a", "b"], ["b", "a"]):
        schema = {"type": "object", "properties": {name: {"type": "boolean"} for name in names}}
        llm.bind_tools([{"type": "function", "function": {"name": "f", "parameters": schema}}]).invoke("Hello")
    assert len(engine.requests) == 2


def test_bound_tools_are_counted() -> None:
    """As `trim_messages` counts with whatever model it is given."""
    llm, _ = chat("a")
    messages: list[BaseMessage] = [HumanMessage("Hello")]
    bound: Any = llm.bind_tools(TOOLS)
    assert bound.get_num_tokens_from_messages(messages) == bound.invoke(messages).usage_metadata["input_tokens"]
    unused: Any = llm.bind_tools(TOOLS, tool_choice="none")
    assert unused.get_num_tokens_from_messages(messages) == llm.get_num_tokens_from_messages(messages)


def test_tools_count_as_tokens() -> None:
    """As many as the request really has."""
    llm, engine = chat()
    llm.bind_tools(TOOLS).invoke("Hi")
    assert llm.get_num_tokens_from_messages([HumanMessage("Hi")], TOOLS) == len(engine.requests[0].token_ids)


def test_a_format_of_one_s_own_is_read_and_written() -> None:
    """For a family that nobody here knows."""

    def write(calls: Any) -> str:
        return "".join(f"@{call.name}({json.dumps(dict(call.arguments))})@" for call in calls)

    def read(body: str) -> list[ToolCall]:
        name, _, arguments = body.removesuffix(")").partition("(")
        return [ToolCall(name, json.loads(arguments))]

    own = ToolFormat("own", "@", "@", read, write, Frame("", "", ""))
    llm, engine = chat('@get_weather({"city": "Oslo"})@', tool_format=own)
    answer = llm.bind_tools(TOOLS).invoke("Hi")
    assert answer.tool_calls[0]["args"] == {"city": "Oslo"}
    llm.invoke([HumanMessage("Hi"), answer])
    assert '@get_weather({"city": "Oslo"})@' in engine.requests[1].prompt


def test_an_unknown_format_is_an_error_at_construction() -> None:
    """The message lists those there are."""
    with pytest.raises(InvalidSettingsError, match="hermes"):
        chat(tool_format="hermès")


def test_marks_that_are_special_tokens_are_seen_and_others_are_not() -> None:
    """Mistral's ``[TOOL_CALLS]`` is a token of its own, which plain decoding would hide."""
    tokenizer = tiny_tokenizer(chat_template=KNOWING.replace("<tool_call>", "[TOOL_CALLS]"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "[TOOL_CALLS]", "[SECRET]"]})
    engine = FakeEngine(['[SECRET][TOOL_CALLS][{"name": "get_time", "arguments": {}}]'], tokenizer=tokenizer)
    llm = ChatSoftPrompt(model="fake", engine=engine, max_tokens=200)
    answer = llm.bind_tools(TOOLS).invoke("Hi")
    assert [call["name"] for call in answer.tool_calls] == ["get_time"]
    assert answer.text == ""
