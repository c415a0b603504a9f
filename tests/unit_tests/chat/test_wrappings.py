"""Whatever LangChain wraps around a chat model, and whatever is made of that, the soft prompt that was chosen is the one that answers.

The engine's own record of its requests is the witness.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.prompts.structured import StructuredPrompt
from langchain_core.runnables import ConfigurableField, ConfigurableFieldSingleOption, RunnableWithFallbacks
from pydantic import BaseModel

from langchain_softprompt.chat_models import ChatSoftPrompt, UnknownArgumentError
from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.testing import FakeEngine, FakeRequest, tiny_soft_prompt


def soft(name: str) -> Any:
    return tiny_soft_prompt(sum(map(ord, name)), source=name)


A, B = soft("a"), soft("b")
ANSWER = '{"text": "x"}'
ASK: Any = {"messages": [("human", "Hello")]}


class Answer(BaseModel):
    """An answer."""

    text: str


def tool(text: str) -> str:
    """Answer a question."""
    return text


def script(request: FakeRequest) -> str:
    return request.continuations[0] if request.continuations is not None else ANSWER


def chat(**fields: Any) -> ChatSoftPrompt:
    return ChatSoftPrompt(model="fake", engine=FakeEngine(script), **fields)


def wearers(llm: ChatSoftPrompt) -> list[str | None]:
    """Which soft prompts the engine was asked for."""
    requests: Any = llm.engine.requests  # type: ignore[union-attr]
    return [request.soft_prompt.source if request.soft_prompt is not None else None for request in requests]


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "bind": lambda llm: llm.bind(max_tokens=30),
    "with_config": lambda llm: llm.with_config(tags=["x"]),
    "with_listeners": lambda llm: llm.with_listeners(on_start=lambda _: None),
    "with_alisteners": lambda llm: llm.with_alisteners(),
    "with_types": lambda llm: llm.with_types(output_type=AIMessage),
    "with_retry": lambda llm: llm.with_retry(stop_after_attempt=1),
    "with_fallbacks": lambda llm: llm.with_fallbacks([llm]),
    "configurable_fields": lambda llm: llm.configurable_fields(temperature=ConfigurableField(id="warmth")),
    "configurable_alternatives": lambda llm: llm.configurable_alternatives(ConfigurableField(id="which"), other=llm),
    "bind_tools": lambda llm: llm.bind_tools([tool]),
    "bind, with_retry": lambda llm: llm.bind(max_tokens=30).with_retry(stop_after_attempt=1),
    "bind, with_fallbacks": lambda llm: llm.bind(max_tokens=30).with_fallbacks([llm]),
    "with_fallbacks, with_config": lambda llm: llm.with_fallbacks([llm]).with_config(tags=["x"]),
    "configurable_fields, with_retry": lambda llm: WRAPPED["configurable_fields"](llm).with_retry(stop_after_attempt=1),
}
MADE: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda model: model,
    "bind_tools": lambda model: model.bind_tools([tool]),
    "with_structured_output": lambda model: model.with_structured_output(Answer),
    "include_raw": lambda model: model.with_structured_output(Answer, include_raw=True),
    "with_choices": lambda model: model.with_choices(["x", "y"]),
}
wrapping = pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
making = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


@wrapping
@making
def test_soft_prompt_stays_whether_it_is_chosen_before_or_after_the_wrapping(wrap: Any, make: Any) -> None:
    llm = chat()
    for chosen in (
        wrap(llm.with_soft_prompt(A)),
        wrap(llm).bind(soft_prompt=A),
        wrap(llm).with_soft_prompt(A),
        wrap(llm.with_soft_prompt(B)).bind(soft_prompt=A),
    ):
        make(chosen).invoke("Hello")
    assert wearers(llm) == ["a"] * 4


@wrapping
@making
def test_call_of_what_was_made_chooses_too(wrap: Any, make: Any) -> None:
    llm = chat()
    make(wrap(llm)).invoke("Hello", soft_prompt=A)
    make(wrap(llm)).bind(soft_prompt=A).invoke("Hello")
    assert wearers(llm) == ["a"] * 2
    with pytest.raises(UnknownArgumentError):
        make(wrap(llm)).invoke("Hello", softprompt=A)


@wrapping
@making
def test_config_that_nobody_follows_raises_through_every_wrapping(wrap: Any, make: Any) -> None:
    llm, config = chat(), {"configurable": {"soft_prompt": A}}
    with pytest.raises(UnknownArgumentError, match="configurable_fields"):
        make(wrap(llm)).invoke("Hello", config)
    with pytest.raises(UnknownArgumentError, match="configurable_fields"):
        make(wrap(llm).with_config(config)).invoke("Hello")
    assert wearers(llm) == []


# What a config chooses.


@pytest.mark.parametrize("key", ["soft_prompt", "skill"])
@making
async def test_config_chooses_for_whatever_is_made_of_a_configurable_model(key: str, make: Any) -> None:
    llm = chat()
    configurable: Any = llm.configurable_fields(soft_prompt=ConfigurableField(id=key))
    config = {"configurable": {key: A}}
    for model in (configurable, configurable.bind(max_tokens=30), configurable.with_config(tags=["x"]), configurable.with_fallbacks([llm])):
        make(model).invoke("Hello", config)
        make(model.with_config(config)).invoke("Hello")
        await make(model).ainvoke("Hello", config)
    further = configurable.configurable_fields(temperature=ConfigurableField(id="warmth"))
    make(further).invoke("Hello", config)
    (ChatPromptTemplate.from_messages([("human", "{text}")]) | make(configurable)).invoke({"text": "Hello"}, config)
    assert set(wearers(llm)) == {"a"}
    make(configurable).invoke("Hello")
    assert wearers(llm)[-1] is None


@pytest.mark.parametrize("key", ["soft_prompt", "skill"])
@pytest.mark.parametrize("response_format", [None, Answer])
def test_agent_with_tools_follows_the_config(key: str, response_format: Any) -> None:
    llm = chat(max_tokens=99)
    agent = create_agent(
        llm.configurable_fields(soft_prompt=ConfigurableField(id=key)),  # type: ignore[arg-type]
        tools=[tool],
        response_format=response_format,
    )
    with suppress(RecursionError):  # the script never calls the tool that ends it
        agent.invoke(ASK, {"configurable": {key: A}, "recursion_limit": 4})
    assert set(wearers(llm)) == {"a"}


@pytest.mark.filterwarnings("ignore:.*in beta")
def test_prompt_with_a_schema_follows_the_config() -> None:
    llm = chat()
    chain = StructuredPrompt([("human", "{text}")], Answer) | llm.configurable_fields(soft_prompt=ConfigurableField(id="skill"))  # type: ignore[arg-type]
    chain.invoke({"text": "Hello"}, {"configurable": {"skill": A}})
    assert wearers(llm) == ["a"]


@pytest.mark.parametrize("key", ["soft_prompt", "skill"])
def test_config_that_picks_among_named_options_is_followed(key: str) -> None:
    llm = chat()
    option = ConfigurableFieldSingleOption(id=key, options={"first": A, "second": B}, default="second")
    model: Any = llm.configurable_fields(soft_prompt=option)
    model.invoke("Hello", {"configurable": {key: "first"}})
    model.bind_tools([tool]).invoke("Hello", {"configurable": {key: "first"}})
    model.invoke("Hello")
    assert wearers(llm) == ["a", "a", "b"]


def test_later_choice_takes_the_place_of_a_config_bound_before() -> None:
    llm = chat()
    configurable: Any = llm.configurable_fields(soft_prompt=ConfigurableField(id="skill"))
    bound = configurable.with_config(configurable={"skill": A})
    for model in (bound, bound.with_soft_prompt(B), bound.bind(soft_prompt=B), configurable.with_soft_prompt(B)):
        model.invoke("Hello")
    configurable.with_soft_prompt(B).invoke("Hello", {"configurable": {"skill": A}})
    assert wearers(llm) == ["a", "b", "b", "b", "a"]


def test_config_and_template_that_contradict_each_other_are_refused_whatever_the_key() -> None:
    configurable = chat().configurable_fields(soft_prompt=ConfigurableField(id="skill"))
    carried = [HumanMessage([{"type": "soft_prompt", "soft_prompt": B}, {"type": "text", "text": "Hello"}])]  # type: ignore[list-item]
    with pytest.raises(UnknownArgumentError, match="no prompt template carry"):
        configurable.invoke(carried, {"configurable": {"skill": A}})


@making
@pytest.mark.parametrize("later", [True, False])
def test_alternative_that_a_config_chooses_answers_whatever_is_made_of_them(make: Any, later: bool) -> None:
    llm = chat()
    other: Any = (lambda: llm.with_soft_prompt(A)) if later else llm.with_soft_prompt(A)
    model = llm.with_soft_prompt(B).configurable_alternatives(ConfigurableField(id="skill"), default_key="b", a=other)
    make(model).invoke("Hello", {"configurable": {"skill": "a"}})
    make(model.with_config(configurable={"skill": "a"})).invoke("Hello")
    make(model).invoke("Hello")
    assert wearers(llm) == ["a", "a", "b"]


# Fallbacks.


class Stranger(GenericFakeChatModel):
    """A model of another provider, which refuses what it does not know."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(**kwargs)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        assert "soft_prompt" not in kwargs
        return super()._generate(messages, stop, run_manager)


def failing() -> ChatSoftPrompt:
    return ChatSoftPrompt(model="fake", engine=FakeEngine([RequestFailedError("x")]))


@pytest.mark.parametrize("bound", [{}, {"max_tokens": 30}])
def test_fallback_of_ours_wears_what_was_chosen_for_all_and_is_offered_the_tools(bound: dict[str, Any]) -> None:
    """A binding that does not say what its methods give would make LangChain drop the fallback."""
    first, spare = failing(), chat()
    chosen = first.bind(**bound).with_fallbacks([spare]).bind(soft_prompt=A)
    plain = RunnableWithFallbacks(runnable=first.bind(soft_prompt=A, **bound), fallbacks=[spare.with_soft_prompt(A)])
    for model in (chosen, chosen.with_config(tags=["x"]), plain):
        assert model.bind_tools([tool]).invoke("Hello").text == ANSWER
    assert set(wearers(first)) == set(wearers(spare)) == {"a"}
    assert all("<tools>" in request.prompt for request in spare.engine.requests)  # type: ignore[union-attr]


def test_fallback_of_another_provider_is_not_told_of_the_soft_prompt() -> None:
    first = failing()
    stranger = Stranger(messages=iter(["stranger"] * 2))
    model = first.with_fallbacks([stranger]).with_soft_prompt(A)
    assert model.invoke("Hello").text == model.bind_tools([tool]).invoke("Hello").text == "stranger"
    assert wearers(first) == ["a", "a"]


def test_agent_of_a_model_with_retries_has_its_tools() -> None:
    llm = chat()
    create_agent(llm.with_soft_prompt(A).with_retry(stop_after_attempt=1), tools=[tool]).invoke(ASK)  # type: ignore[arg-type]
    assert wearers(llm) == ["a"]
    assert "<tools>" in llm.engine.requests[0].prompt  # type: ignore[union-attr]


def test_tools_take_the_place_of_earlier_ones() -> None:
    def other(text: str) -> str:
        """Answer another question."""
        return text

    llm = chat()
    llm.bind(soft_prompt=A).bind_tools([tool], tool_choice="tool").bind_tools([other]).invoke("Hello")  # type: ignore[attr-defined]
    assert '"name": "other"' in llm.engine.requests[0].prompt  # type: ignore[union-attr]
    assert '"name": "tool"' not in llm.engine.requests[0].prompt  # type: ignore[union-attr]
    assert wearers(llm) == ["a"]


def test_raw_answer_is_in_a_stream_too() -> None:
    llm = chat()
    chunks = list(llm.with_structured_output(Answer, include_raw=True).stream("Hello", soft_prompt=A))
    assert "".join(chunk["raw"].text for chunk in chunks if "raw" in chunk) == ANSWER
    assert [chunk["parsed"] for chunk in chunks if "parsed" in chunk][-1] == Answer(text="x")
    assert wearers(llm) == ["a"]
