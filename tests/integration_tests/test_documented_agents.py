"""LangChain's and LangGraph's documented agents and workflows, with `ChatSoftPrompt` put in: all work, each call with its soft prompt."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolEmulator,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolRetryMiddleware,
    before_model,
    dynamic_prompt,
    wrap_model_call,
    wrap_tool_call,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage, trim_messages
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel

from tests.integration_tests.scripted import answers, asked, chat, soft, wore

A, B, C = soft("a"), soft("b"), soft("c")
ASK: Any = {"messages": [{"role": "user", "content": "What is the weather in Rome?"}]}
ROME = {"get_weather": {"city": "Rome"}}


@tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"Sun in {city}."


def thread(name: str = "1") -> Any:
    return {"configurable": {"thread_id": name}}


@dataclass
class Context:
    """What an agent knows of its user."""

    user: str


@dataclass
class Forecast:
    """A forecast."""

    text: str


@tool
def find_city(runtime: ToolRuntime[Context]) -> str:
    """Find where the user is."""
    return "Rome" if runtime.context.user == "1" else "Oslo"


# Agents.


async def test_agent_that_calls_a_tool() -> None:
    """After the quickstart: one tool and a system prompt; sync, async, and streamed in each mode."""
    agent = create_agent(chat(ROME).with_soft_prompt(A), tools=[get_weather], system_prompt="Be kind.")
    state = agent.invoke(ASK)
    assert (answers(state), state["messages"][-2].text) == (["a", "a"], "Sun in Rome.")
    assert answers(await agent.ainvoke(ASK)) == ["a", "a"]
    assert [next(iter(update)) for update in agent.stream(ASK, stream_mode="updates")] == ["model", "tools", "model"]
    streamed: Any = [item async for item in agent.astream(ASK, stream_mode="messages")]
    assert {metadata["softprompt_source"] for _, metadata in streamed if metadata["langgraph_node"] == "model"} == {"a"}
    events = [event["event"] async for event in agent.astream_events(ASK, version="v2")]
    assert {"on_chat_model_stream", "on_tool_end"} <= set(events)


def test_agent_with_context_memory_and_a_structured_answer() -> None:
    """After the quickstart's larger agent: a tool that reads the context, an answer of a given shape, threads."""

    llm = chat(form={"text": "sun"}, arguments={"Forecast": {"text": "sun"}})
    for strategy in (ToolStrategy(Forecast), ProviderStrategy(Forecast), Forecast):
        agent: Any = create_agent(
            llm.with_soft_prompt(A), tools=[], response_format=strategy, context_schema=Context, checkpointer=InMemorySaver()
        )
        assert agent.invoke(ASK, thread(), context=Context("1"))["structured_response"] == Forecast("sun")
    located = create_agent(llm.with_soft_prompt(A), tools=[find_city], context_schema=Context)
    assert located.invoke(ASK, context=Context("1"))["messages"][-2].text == "Rome"
    assert set(asked(llm)) == {"a"}


def test_conversation_goes_on_in_its_thread() -> None:
    """After the page on short-term memory, with messages trimmed before each call by the model's own count."""
    llm = chat().with_soft_prompt(A)
    room = 2 * llm.get_num_tokens_from_messages([HumanMessage("Hello")])

    @before_model
    def trim(state: Any, runtime: Any) -> Any:
        kept = trim_messages(state["messages"], max_tokens=room, strategy="last", token_counter=llm, start_on="human")
        return {"messages": [RemoveMessage(id="__remove_all__"), *kept]}

    plain = create_agent(llm, tools=[], checkpointer=InMemorySaver())
    trimmed = create_agent(llm, tools=[], middleware=[trim], checkpointer=InMemorySaver())
    for agent, most in ((plain, 8), (trimmed, 4)):
        state: Any = {}
        for _ in range(4):
            state = agent.invoke({"messages": [("user", "Hello")]}, thread())
        assert len(state["messages"]) <= most
        assert wore(state["messages"][-1]) == "a"
    assert len(plain.get_state(thread()).values["messages"]) == 8


def test_model_and_prompt_that_depend_on_the_call() -> None:
    """After the page on agents: a model by the state, a system prompt by the context, errors of tools caught."""
    llm = chat(ROME)

    @wrap_model_call
    def by_length(request: Any, handler: Any) -> Any:
        return handler(request.override(model=llm.with_soft_prompt(A if len(request.messages) == 1 else B)))

    @dynamic_prompt
    def by_role(request: Any) -> str:
        return f"You talk to an {request.runtime.context['role']}."

    @wrap_tool_call
    def caught(request: Any, handler: Any) -> Any:
        try:
            return handler(request)
        except ValueError as error:
            return ToolMessage(f"Try again: {error}", tool_call_id=request.tool_call["id"])

    @tool
    def failing(city: str) -> str:
        """Fail."""
        raise ValueError(city)

    agent: Any = create_agent(llm, tools=[failing], middleware=[by_length, by_role, caught], context_schema=dict)
    llm.engine._answer = _calling("failing", {"city": "Rome"})  # type: ignore[union-attr]
    state = agent.invoke(ASK, context={"role": "expert"})
    assert (answers(state), state["messages"][-2].text) == (["a", "b"], "Try again: Rome")
    assert all("You talk to an expert." in request.prompt for request in llm.engine.requests)  # type: ignore[union-attr]


def _calling(name: str, arguments: dict[str, Any]) -> Any:
    return chat({name: arguments}).engine._answer  # type: ignore[union-attr]


@pytest.mark.parametrize("trigger", [("tokens", 60), ("messages", 4), [("messages", 4), ("tokens", 9999)]])
def test_summary_by_a_model_of_its_own(trigger: Any) -> None:
    """After the page on built-in middleware: long histories are summed up, here with another soft prompt."""
    llm = chat()
    summarise = SummarizationMiddleware(model=llm.with_soft_prompt(B), trigger=trigger, keep=("messages", 1))
    agent = create_agent(llm.with_soft_prompt(A), tools=[], middleware=[summarise])
    history = [("user", "Hi " * 40), ("ai", "Yes " * 40), ("user", "I am Bob"), ("ai", "Good"), ("user", "Who am I?")]
    state = agent.invoke({"messages": history})  # type: ignore[arg-type]
    assert "b" in state["messages"][0].text
    assert asked(llm) == ["b", "a"]


@pytest.mark.parametrize(
    "middleware",
    [
        ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=20, keep=0)], token_count_method="model"),
        ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=20, keep=0)]),
        LLMToolEmulator(model=chat().with_soft_prompt(C)),
        ModelCallLimitMiddleware(run_limit=3),
        ModelFallbackMiddleware(chat().with_soft_prompt(B)),
        ModelRetryMiddleware(max_retries=1),
        PIIMiddleware("email"),
        TodoListMiddleware(),
        ToolRetryMiddleware(max_retries=1),
    ],
    ids=lambda middleware: type(middleware).__name__,
)
@pytest.mark.parametrize("bound", [{}, {"max_tokens": 300}])
def test_middleware_that_comes_with_langchain(middleware: Any, bound: dict[str, Any]) -> None:
    """After the page on built-in middleware: each kind beside a model with a soft prompt, bare and in a binding."""
    agent = create_agent(chat(ROME).bind(soft_prompt=A, **bound), tools=[get_weather], middleware=[middleware])  # type: ignore[arg-type]
    assert answers(agent.invoke(ASK)) == ["a", "a"]


def test_tools_selected_by_another_model() -> None:
    """After the same page: a model picks the tools that the agent's model is offered."""

    @tool
    def other(city: str) -> str:
        """Do something else."""
        return city

    selector = chat(form={"tools": ["get_weather"]})
    llm = chat(ROME)
    pick = LLMToolSelectorMiddleware(model=selector.with_soft_prompt(B), max_tools=1)
    assert answers(create_agent(llm.with_soft_prompt(A), tools=[other, get_weather], middleware=[pick]).invoke(ASK)) == ["a", "a"]
    assert (asked(selector)[0], '"name": "other"' in llm.engine.requests[0].prompt) == ("b", False)  # type: ignore[union-attr]


def test_human_approves_a_call() -> None:
    """After the page on people in the loop: the agent stops before a tool, and goes on when told to."""
    approve = HumanInTheLoopMiddleware(interrupt_on={"get_weather": True})
    agent = create_agent(chat(ROME).with_soft_prompt(A), tools=[get_weather], middleware=[approve], checkpointer=InMemorySaver())
    assert "__interrupt__" in agent.invoke(ASK, thread())
    resumed: Any = Command(resume={"decisions": [{"type": "approve"}]})
    assert answers(agent.invoke(resumed, thread())) == ["a", "a"]


def test_subagent_as_a_tool() -> None:
    """After the page on several agents: a supervisor asks another agent by a tool; each has its own soft prompt."""
    llm = chat({"ask": {"question": "x"}})
    helper = create_agent(llm.with_soft_prompt(B), tools=[], name="helper")

    @tool
    def ask(question: str) -> str:
        """Ask the helper."""
        return str(helper.invoke({"messages": [("user", question)]})["messages"][-1].text)

    state = create_agent(llm.with_soft_prompt(A), tools=[ask]).invoke(ASK)
    assert (asked(llm), state["messages"][-2].text) == (["a", "b", "a"], "b")


def test_hand_over_to_another_agent() -> None:
    """After the page on hand-offs: a tool leads from one agent's node to the other's."""

    @tool
    def hand_over(runtime: ToolRuntime) -> Command[Any]:
        """Hand over."""
        done = ToolMessage("Done.", tool_call_id=runtime.tool_call_id)
        return Command(goto="second", graph=Command.PARENT, update={"messages": [*runtime.state["messages"], done]})

    llm = chat()
    graph = StateGraph(MessagesState)
    graph.add_node("first", create_agent(llm.with_soft_prompt(A), tools=[hand_over], name="first"))
    graph.add_node("second", create_agent(llm.with_soft_prompt(B), tools=[], name="second"))
    graph.add_edge(START, "first")
    assert answers(graph.compile().invoke(ASK)) == ["a", "b"]  # type: ignore[arg-type]


def test_steps_of_a_conversation_and_a_store() -> None:
    """After the pages on state machines and long-term memory: the step picks soft prompt and tools; a tool reads the store."""

    class Steps(AgentState[Any]):
        step: str

    @tool
    def look_up(runtime: ToolRuntime) -> str:
        """Look the user up."""
        return str(runtime.store.get(("users",), "1").value["name"])  # type: ignore[union-attr]

    @wrap_model_call
    def by_step(request: Any, handler: Any) -> Any:
        return handler(
            request.override(model=request.model.with_soft_prompt({"ask": A, "tell": B}[request.state["step"]]), tools=[look_up])
        )

    store = InMemoryStore()
    store.put(("users",), "1", {"name": "Bob"})
    agent: Any = create_agent(chat(), tools=[get_weather, look_up], middleware=[by_step], state_schema=Steps, store=store)
    state = agent.invoke({**ASK, "step": "tell"})
    assert (answers(state), state["messages"][-2].text) == (["b", "b"], "Bob")


# Workflows. All after LangGraph's page on workflows and agents, unless said otherwise.


class Work(TypedDict, total=False):
    """The state of a workflow."""

    topic: str
    first: str
    second: str
    third: str
    decision: str
    parts: list[str]
    done: Annotated[list[str], operator.add]


def says(llm: Any, key: str) -> Any:
    return lambda state: {key: llm.invoke(state["topic"]).text}


def workflow(**nodes: Any) -> Any:
    graph: Any = StateGraph(Work)
    for name, node in nodes.items():
        graph.add_node(name, node)
    return graph


def test_one_prompt_after_another_behind_a_gate() -> None:
    """Prompt chaining."""
    llm = chat()
    graph = workflow(write=says(llm.with_soft_prompt(A), "first"), improve=says(llm.with_soft_prompt(B), "second"))
    graph.add_edge(START, "write")
    graph.add_conditional_edges("write", lambda state: "bad" if "?" not in state["first"] else "good", {"bad": "improve", "good": END})
    assert graph.compile().invoke({"topic": "cats"}) == {"topic": "cats", "done": [], "first": "a", "second": "b"}


def test_prompts_side_by_side() -> None:
    """Parallelisation: three nodes at once on one engine."""
    llm = chat()
    graph = workflow(
        x=says(llm.with_soft_prompt(A), "first"), y=says(llm.with_soft_prompt(B), "second"), z=says(llm.with_soft_prompt(C), "third")
    )
    for node in "xyz":
        graph.add_edge(START, node)
    assert graph.compile().invoke({"topic": "cats"}) == {"topic": "cats", "done": [], "first": "a", "second": "b", "third": "c"}


def test_router_with_a_structured_decision() -> None:
    """Routing."""

    class Route(BaseModel):
        """Where to go."""

        step: Literal["poem", "story"]

    llm = chat(form={"step": "story"})
    router = llm.with_soft_prompt(A).with_structured_output(Route)
    graph = workflow(
        route=lambda state: {"decision": router.invoke([SystemMessage("Route."), HumanMessage(state["topic"])]).step},
        poem=says(llm.with_soft_prompt(B), "first"),
        story=says(llm.with_soft_prompt(C), "first"),
    )
    graph.add_edge(START, "route")
    graph.add_conditional_edges("route", lambda state: state["decision"], ["poem", "story"])
    assert graph.compile().invoke({"topic": "cats"})["first"] == "c"
    assert asked(llm) == ["a", "c"]


def test_workers_that_an_orchestrator_sends_out() -> None:
    """Orchestrator and workers."""

    class Plan(BaseModel):
        """A plan."""

        parts: list[str]

    llm = chat(form={"parts": ["x", "y", "z"]})
    planner = llm.with_soft_prompt(A).with_structured_output(Plan)
    graph = workflow(
        plan=lambda state: {"parts": planner.invoke(state["topic"]).parts},
        work=lambda state: {"done": [llm.with_soft_prompt(B).invoke(state["topic"]).text]},
    )
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda state: [Send("work", {"topic": part}) for part in state["parts"]], ["work"])
    assert graph.compile().invoke({"topic": "cats"})["done"] == ["b"] * 3


def test_writer_and_judge_in_a_loop() -> None:
    """Evaluator and optimiser."""

    class Grade(BaseModel):
        """A grade."""

        grade: Literal["good", "bad"]

    judge = chat(form={"grade": "bad"})
    graded = judge.with_soft_prompt(B).with_structured_output(Grade)
    graph = workflow(
        write=lambda state: {"done": [chat().with_soft_prompt(A).invoke(state["topic"]).text]},
        judge=lambda state: {"decision": graded.invoke(state["done"][-1]).grade},
    )
    graph.add_edge(START, "write")
    graph.add_edge("write", "judge")
    graph.add_conditional_edges("judge", lambda state: END if state["decision"] == "good" or len(state["done"]) == 3 else "write")
    assert graph.compile().invoke({"topic": "cats"})["done"] == ["a"] * 3
    assert asked(judge) == ["b"] * 3


def test_agent_built_of_nodes() -> None:
    """An agent: a model's node, a `ToolNode` and a condition between them."""
    llm: Any = chat(ROME).with_soft_prompt(A).bind_tools([get_weather])
    graph: Any = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [llm.invoke([SystemMessage("Be kind."), *state["messages"]])]})
    graph.add_node("tools", ToolNode([get_weather]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    assert answers(graph.compile().invoke(ASK)) == ["a", "a"]


def test_functional_api() -> None:
    """After the page on the functional API: tasks in an entrypoint."""
    llm = chat()

    @task
    def write(topic: str) -> AIMessage:
        return llm.with_soft_prompt(A).invoke(topic)

    @task
    def improve(text: str) -> AIMessage:
        return llm.with_soft_prompt(B).invoke(text)

    @entrypoint(checkpointer=InMemorySaver())
    def flow(topic: str) -> list[str]:
        first = write(topic).result()
        return [wore(first), wore(improve(first.text).result())]

    assert flow.invoke("cats", thread()) == ["a", "b"]


def test_graph_in_a_graph_streams_both() -> None:
    """After the pages on subgraphs and streaming: tokens of the inner and the outer model, each by its soft prompt."""
    llm = chat()

    def node(model: Any) -> Any:
        return lambda state: {"messages": [model.invoke(state["messages"])]}

    inner: Any = StateGraph(MessagesState)
    inner.add_node("model", node(llm.with_soft_prompt(B)))
    inner.add_edge(START, "model")
    outer: Any = StateGraph(MessagesState)
    outer.add_node("inner", inner.compile())
    outer.add_node("model", node(llm.with_soft_prompt(A)))
    outer.add_edge(START, "inner")
    outer.add_edge("inner", "model")
    graph = outer.compile(checkpointer=InMemorySaver())
    assert answers(graph.invoke(ASK, thread())) == ["b", "a"]
    streamed = list(graph.stream(ASK, thread("2"), stream_mode="messages", subgraphs=True))
    assert {metadata["softprompt_source"] for _, (_, metadata) in streamed} == {"a", "b"}


def test_graph_that_waits_for_a_person_and_carries_its_soft_prompt() -> None:
    """After the page on interrupts; the checkpoint keeps the first message with the block that names the soft prompt."""

    def node(state: Any) -> Any:
        word = interrupt("And?")
        return {"messages": [HumanMessage(word), chat().invoke([*state["messages"], HumanMessage(word)])]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("model", node)
    builder.add_edge(START, "model")
    graph = builder.compile(checkpointer=InMemorySaver())
    first = {"role": "system", "content": [{"type": "soft_prompt", "soft_prompt": None}, {"type": "text", "text": "Be kind."}]}
    graph.invoke({"messages": [first, *ASK["messages"]]}, thread())
    assert answers(graph.invoke(Command(resume="Yes."), thread())) == [None]
