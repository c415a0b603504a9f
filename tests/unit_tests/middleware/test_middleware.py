"""SoftPromptMiddleware: each model call of an agent wears the soft prompt picked for it, and no other model is bothered."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware, ModelRequest, SummarizationMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import InvalidReferenceError, RequestFailedError, SoftPromptChoiceError, SoftPromptNotFoundError
from langchain_softprompt.middleware import KEEP, SoftPromptMiddleware, by_context, by_key, by_phase, by_state, by_tools
from langchain_softprompt.testing import FakeEngine, tiny_model, tiny_soft_prompt
from tests.unit_tests.middleware.agents import CALL, WRITE, fake_chat, foreign_chat, soft, tool_chat

ASK: Any = {"messages": [("human", "Hello")]}
PHASES = SoftPromptMiddleware(by_phase(before_tools=CALL, after_tools=WRITE))


@tool
def search(text: str) -> str:
    """Search."""
    return f"found {text}"


@tool
def failing(text: str) -> str:
    """Fail."""
    raise ValueError(text)


def always(choice: Any) -> SoftPromptMiddleware:
    return SoftPromptMiddleware(lambda request: choice)


def who(state: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Text and soft prompt of each answer."""
    return [(message.text, message.response_metadata.get("soft_prompt")) for message in state["messages"] if isinstance(message, AIMessage)]


def request(**fields: Any) -> ModelRequest[Any]:
    return ModelRequest(**{"model": fake_chat(), "messages": [HumanMessage("Hello")], **fields})


# In agents.


def test_tool_is_called_with_one_soft_prompt_and_the_answer_written_with_another() -> None:
    agent = create_agent(tool_chat(), tools=[search], middleware=[PHASES])
    assert who(agent.invoke(ASK)) == [("call", "call"), ("write", "write")]


async def test_async_agent_does_the_same() -> None:
    agent = create_agent(tool_chat(), tools=[search], middleware=[PHASES])
    assert who(await agent.ainvoke(ASK)) == [("call", "call"), ("write", "write")]


async def test_messages_stream_calls_with_one_soft_prompt_and_text_with_another() -> None:
    """LangGraph's message stream holds the call's chunks and the answer's tokens, each with its own soft prompt's name."""
    agent = create_agent(tool_chat(), tools=[search], middleware=[PHASES])
    chunks: Any = [item async for item in agent.astream(ASK, stream_mode="messages")]
    calls = [metadata["softprompt_source"] for chunk, metadata in chunks if getattr(chunk, "tool_call_chunks", None)]
    assert calls == ["call"]
    assert "".join(chunk.text for chunk, metadata in chunks if metadata.get("softprompt_source") == "write") == "write"


def test_next_turn_begins_with_the_first_phase_again() -> None:
    agent = create_agent(tool_chat(), tools=[search], middleware=[PHASES])
    state = agent.invoke(ASK)
    after = agent.invoke({"messages": [*state["messages"], HumanMessage("And now?")]})
    assert [name for _, name in who(after)] == ["call", "write", "call", "write"]


def test_pick_reaches_a_real_engine(tmp_path: Path) -> None:
    """The agent's text is what the model says with that soft prompt outside of any agent."""
    with Engine(tiny_model()) as engine:
        llm = ChatSoftPrompt(model="tiny", engine=engine, max_tokens=12)
        folder = tiny_soft_prompt(1).save(tmp_path / "a")
        expected, bare = llm.invoke("Hello", soft_prompt=folder).text, llm.invoke("Hello").text
        assert expected != bare
        assert create_agent(llm, tools=[], middleware=[always(folder)]).invoke(ASK)["messages"][-1].text == expected
        worn = create_agent(llm.with_soft_prompt(folder), tools=[], middleware=[always(None)])
        assert worn.invoke(ASK)["messages"][-1].text == bare


def test_messages_stream_token_by_token_and_their_metadata_name_the_pick() -> None:
    agent = create_agent(fake_chat(), tools=[], middleware=[always(WRITE)])
    chunks: Any = list(agent.stream(ASK, stream_mode="messages"))
    assert "".join(chunk.text for chunk, _ in chunks) == "write"
    assert len(chunks) > len("write"), "one token of the fake model is one byte"
    assert {metadata["softprompt_source"] for _, metadata in chunks} == {"write"}


async def test_messages_stream_in_async_too() -> None:
    agent = create_agent(fake_chat(), tools=[], middleware=[always(WRITE)])
    chunks: Any = [item async for item in agent.astream(ASK, stream_mode="messages")]
    assert "".join(chunk.text for chunk, _ in chunks) == "write"
    assert {metadata["softprompt_source"] for _, metadata in chunks} == {"write"}


def test_summary_and_subagent_wear_soft_prompts_of_their_own() -> None:
    """One engine serves all four: the summary is written, then the agent asks a subagent, then it answers."""
    llm = tool_chat()
    helper = create_agent(llm.with_soft_prompt(soft("helper")), tools=[])

    @tool
    def ask_helper(text: str) -> str:
        """Ask the helper."""
        return str(helper.invoke({"messages": [("human", text)]})["messages"][-1].text)

    summarise = SummarizationMiddleware(llm.with_soft_prompt(soft("summary")), trigger=("messages", 5), keep=("messages", 1))
    agent = create_agent(llm, tools=[ask_helper], middleware=[summarise, PHASES])
    state = agent.invoke({"messages": [("human", "a"), ("ai", "b"), ("human", "c"), ("ai", "d"), ("human", "e")]})
    assert "summary" in state["messages"][0].text
    assert next(message.text for message in state["messages"] if isinstance(message, ToolMessage)) == "helper"
    assert [name for _, name in who(state)] == ["call", "write"]
    engine: Any = llm.engine
    assert [asked.soft_prompt.source for asked in engine.requests] == ["summary", "call", "helper", "write"]


class Report(BaseModel):
    """A report."""

    text: str


def test_structured_output_by_a_tool_wears_the_pick() -> None:
    agent = create_agent(tool_chat(), tools=[], response_format=ToolStrategy(Report), middleware=[always(CALL)])
    assert agent.invoke(ASK)["structured_response"] == Report(text="x")


def test_llm_cache_keeps_the_picks_apart() -> None:
    llm = fake_chat(cache=InMemoryCache())
    for name in ("a", "b", "a"):
        assert who(create_agent(llm, tools=[], middleware=[always(soft(name))]).invoke(ASK)) == [(name, name)]
    assert len(llm.engine.requests) == 2  # type: ignore[union-attr]


# What wins.


class Settings(AgentMiddleware[Any, Any]):
    def __init__(self, soft_prompt: Any) -> None:
        super().__init__()
        self.soft_prompt = soft_prompt

    def wrap_model_call(self, request: ModelRequest[Any], handler: Any) -> Any:
        return handler(request.override(model_settings={**request.model_settings, "soft_prompt": self.soft_prompt}))


def test_pick_wins_over_the_models_own_and_over_a_setting_from_outside() -> None:
    llm = fake_chat(soft_prompt=soft("own"))
    assert who(create_agent(llm, tools=[], middleware=[Settings(soft("setting")), always(WRITE)]).invoke(ASK)) == [("write", "write")]
    assert who(create_agent(llm, tools=[], middleware=[always(None)]).invoke(ASK)) == [("bare", None)]


def test_keep_changes_nothing() -> None:
    llm = fake_chat(soft_prompt=soft("own"))
    assert who(create_agent(llm, tools=[], middleware=[always(KEEP)]).invoke(ASK)) == [("own", "own")]
    assert who(create_agent(llm, tools=[], middleware=[Settings(soft("setting")), always(KEEP)]).invoke(ASK)) == [("setting", "setting")]


def test_other_settings_and_bound_arguments_stay() -> None:
    llm = fake_chat(soft_prompt=soft("own"))
    agent = create_agent(llm.bind(max_tokens=3), tools=[], middleware=[always(WRITE)])  # type: ignore[arg-type]
    assert who(agent.invoke(ASK)) == [("wri", "write")]
    given = request(model_settings={"max_tokens": 3, "soft_prompt": soft("x")})
    assert PHASES.wrap_model_call(given, lambda passed: passed).model_settings == {"max_tokens": 3}  # type: ignore[arg-type, return-value, union-attr]
    assert given.model_settings["soft_prompt"] is not None, "the request that came in is left as it was"


def test_model_with_retries_or_a_config_keeps_them_and_wears_the_pick() -> None:
    engine = FakeEngine([RequestFailedError("x"), "fine"])
    model = ChatSoftPrompt(model="fake", engine=engine)
    wrapped = model.with_retry(wait_exponential_jitter=False).bind(soft_prompt=soft("own"))
    agent = create_agent(wrapped, tools=[], middleware=[always(WRITE)])  # type: ignore[arg-type]
    assert who(agent.invoke(ASK)) == [("fine", "write")]
    assert [asked.soft_prompt.source for asked in engine.requests if asked.soft_prompt] == ["write", "write"]


def test_wrapper_that_would_lose_the_pick_is_an_error() -> None:
    configurable: Any = fake_chat().configurable_fields(soft_prompt=ConfigurableField(id="soft_prompt"))
    with pytest.raises(SoftPromptChoiceError, match="RunnableConfigurableFields"):
        create_agent(configurable, tools=[], middleware=[always(WRITE)]).invoke(ASK)


# Other models.


def test_foreign_model_gets_no_soft_prompt_and_the_rule_is_not_asked() -> None:
    def never(request: Any) -> Any:
        raise AssertionError(request)

    agent = create_agent(foreign_chat(), tools=[], middleware=[Settings("acme/a"), SoftPromptMiddleware(never)])
    assert who(agent.invoke(ASK))[0][0] == "foreign"


@pytest.mark.parametrize("inside", [True, False])
async def test_fallback_to_a_foreign_model_works_inside_and_outside(inside: bool) -> None:
    broken = ChatSoftPrompt(model="fake", engine=FakeEngine([RequestFailedError("x")]))
    both = [ModelFallbackMiddleware(foreign_chat()), PHASES]
    agent = create_agent(broken, tools=[], middleware=both if inside else both[::-1])
    assert who(agent.invoke(ASK))[0][0] == "foreign"
    assert who(await agent.ainvoke(ASK))[0][0] == "foreign"
    requests: Any = broken.engine.requests  # type: ignore[union-attr]
    assert [asked.soft_prompt.source for asked in requests] == ["call", "call"]


def test_fallback_of_the_model_itself_works_too() -> None:
    broken = ChatSoftPrompt(model="fake", engine=FakeEngine([RequestFailedError("x")]))
    agent: Any = create_agent(broken.with_fallbacks([foreign_chat()]), tools=[], middleware=[PHASES])  # type: ignore[arg-type]
    assert who(agent.invoke(ASK))[0][0] == "foreign"
    assert broken.engine.requests[0].soft_prompt.source == "call"  # type: ignore[union-attr]


def test_fallback_to_a_model_of_ours_wears_the_pick_when_the_middleware_is_inside() -> None:
    broken = ChatSoftPrompt(model="fake", engine=FakeEngine([RequestFailedError("x")]))
    fallback = ModelFallbackMiddleware(fake_chat(soft_prompt=soft("spare")))
    assert who(create_agent(broken, tools=[], middleware=[fallback, PHASES]).invoke(ASK)) == [("call", "call")]
    assert who(create_agent(broken, tools=[], middleware=[PHASES, fallback]).invoke(ASK)) == [("spare", "spare")]


# Messages that carry a soft prompt.


def test_pick_wins_over_a_soft_prompt_in_the_messages_and_a_foreign_model_never_sees_it() -> None:
    block = {"type": "soft_prompt", "soft_prompt": soft("carried")}
    system: Any = SystemMessage([block, {"type": "text", "text": "Be brief."}])
    for choice, expected in ((WRITE, "write"), (None, "bare"), (KEEP, "carried")):
        agent = create_agent(fake_chat(), tools=[], system_prompt=system, middleware=[always(choice)])
        assert who(agent.invoke(ASK))[0][0] == expected
    passed = handed_on(request(model=foreign_chat(), system_message=system))
    assert passed.system_message.content == [{"type": "text", "text": "Be brief."}]
    assert handed_on(request(system_message=SystemMessage([block]))).system_message is None  # type: ignore[list-item]
    said = HumanMessage([block, {"type": "text", "text": "Hi"}])  # type: ignore[list-item]
    passed = handed_on(request(model=foreign_chat(), system_message=SystemMessage("Be brief."), messages=[said]))
    assert passed.messages[0].content == [{"type": "text", "text": "Hi"}]
    first = HumanMessage([block, {"type": "text", "text": "Hello"}])  # type: ignore[list-item]
    assert who(create_agent(fake_chat(), tools=[], middleware=[always(WRITE)]).invoke({"messages": [first]}))[0][0] == "write"


def handed_on(given: ModelRequest[Any]) -> Any:
    return always(WRITE).wrap_model_call(given, lambda passed: passed)  # type: ignore[arg-type, return-value]


# Pickers.


def pick_of(picker: Any, **fields: Any) -> Any:
    return picker(request(**fields))


def test_phase_is_told_by_who_spoke_last_of_human_and_tool() -> None:
    picker = by_phase(before_tools="acme/before", after_tools="acme/after")
    human, answered = HumanMessage("x"), ToolMessage("x", tool_call_id="1", status="error")
    call = AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "1"}])
    histories = [[human], [human, call, answered], [human, call, answered, AIMessage("x")], [human, call, answered, human], []]
    picked = [pick_of(picker, messages=messages) for messages in histories]
    assert picked == ["acme/before", "acme/after", "acme/after", "acme/before", "acme/before"]


def test_first_named_tool_on_offer_decides() -> None:
    named = {"failing": "acme/a", "search": "acme/b", "web": "acme/c", "function": "acme/d"}
    picker = by_tools(named, default=None)
    assert pick_of(picker, tools=[search, failing]) == "acme/a"
    assert pick_of(picker, tools=[search]) == "acme/b"
    assert pick_of(picker, tools=[{"type": "web"}]) == "acme/c"
    assert pick_of(picker, tools=[{"type": "function", "function": {"name": "search"}}]) == "acme/b"
    assert pick_of(picker, tools=[]) is None
    with pytest.raises(SoftPromptChoiceError, match=r"None of the tools on offer \(failing\).*'other'"):
        pick_of(by_tools({"other": "acme/a"}), tools=[failing])


@dataclass
class Context:
    """Of an agent."""

    tenant: str


def test_runtime_context_decides_as_an_object_and_as_a_mapping() -> None:
    pick = by_context("tenant", {"a": soft("a"), "b": soft("b")}, default=KEEP)
    middleware = [SoftPromptMiddleware(pick)]
    for schema, context in ((Context, Context), (dict, lambda tenant: {"tenant": tenant})):
        agent: Any = create_agent(fake_chat(soft_prompt=WRITE), tools=[], middleware=middleware, context_schema=schema)
        for tenant, expected in (("a", "a"), ("b", "b"), ("c", "write")):
            assert who(agent.invoke(ASK, context=context(tenant)))[0][0] == expected
        assert who(agent.invoke(ASK))[0][0] == "write"


def test_state_decides() -> None:
    state: Any = {"messages": [], "step": "draft"}
    assert pick_of(by_state("step", {"draft": "acme/draft"}), state=state) == "acme/draft"
    with pytest.raises(SoftPromptChoiceError, match=r"'step' is not there.*'draft'"):
        pick_of(by_state("step", {"draft": "acme/draft"}))


@pytest.mark.parametrize("value", ["C", ["a"], None])
def test_unknown_key_is_an_error_that_names_it_or_the_declared_default(value: Any) -> None:
    """A list can't be a key of a mapping at all, and must not surface as a TypeError of Python's."""

    def found(request: ModelRequest[Any]) -> Any:
        return value

    with pytest.raises(SoftPromptChoiceError, match="found"):
        pick_of(by_key(found, {"a": "acme/a"}))
    assert pick_of(by_key(found, {"a": "acme/a"}, default="acme/b")) == "acme/b"
    assert pick_of(by_key(found, {"a": "acme/a"}, default=None)) is None


def test_unknown_key_stops_the_agent() -> None:
    agent = create_agent(fake_chat(), tools=[], middleware=[SoftPromptMiddleware(by_context("tenant", {"a": WRITE}))])
    with pytest.raises(SoftPromptChoiceError, match="default"):
        agent.invoke(ASK)


def test_own_function_may_look_at_the_whole_request() -> None:
    middleware = SoftPromptMiddleware(lambda request: WRITE if len(request.messages[-1].text) > 3 else None)
    assert who(create_agent(fake_chat(), tools=[], middleware=[middleware]).invoke(ASK)) == [("write", "write")]


# What can't be a choice.


@pytest.mark.parametrize("wrong", ["no such form", 3, ["acme/a"]])
def test_what_names_no_soft_prompt_is_refused_before_any_call(wrong: Any) -> None:
    with pytest.raises(InvalidReferenceError):
        by_phase(before_tools=wrong, after_tools=None)
    with pytest.raises(InvalidReferenceError):
        by_context("tenant", {"a": wrong})
    with pytest.raises(InvalidReferenceError):
        by_context("tenant", {}, default=wrong)
    with pytest.raises(InvalidReferenceError):
        create_agent(fake_chat(), tools=[], middleware=[always(wrong)]).invoke(ASK)


def test_rule_must_be_a_plain_function() -> None:
    async def asynchronous(request: Any) -> Any:
        return None

    class Asynchronous:
        async def __call__(self, request: Any) -> Any:
            return None

    for wrong in (asynchronous, Asynchronous(), {"before_tools": "acme/a"}):
        with pytest.raises(SoftPromptChoiceError, match="plain function"):
            SoftPromptMiddleware(wrong)  # type: ignore[arg-type]


def test_soft_prompt_that_is_not_there_stops_the_agent(tmp_path: Path) -> None:
    with pytest.raises(SoftPromptNotFoundError):
        create_agent(fake_chat(), tools=[], middleware=[always(tmp_path / "nowhere")]).invoke(ASK)


def test_without_langchain_the_error_names_the_extra_and_the_rest_of_the_package_works() -> None:
    program = (
        "import sys; sys.modules['langchain'] = None\n"
        "import langchain_softprompt.chat_models\n"
        "from langchain_softprompt.errors import MissingExtraError\n"
        "try:\n    import langchain_softprompt.middleware\nexcept MissingExtraError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert "langchain-softprompt[agents]" in done.stdout


def test_stand_in_tells_soft_prompts_apart() -> None:
    """What the tests of this file rest on."""
    assert fake_chat().invoke("x").text == "bare"
    assert fake_chat(soft_prompt=WRITE).invoke("x").text == "write"
    assert CALL.content_hash != WRITE.content_hash
