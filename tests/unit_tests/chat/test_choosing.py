"""Each way in which LangChain lets a caller choose: it works or it raises, and the bare model never answers in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest
from langchain.chat_models import init_chat_model
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda

from langchain_softprompt.chat_models import ChatSoftPrompt, UnknownArgumentError
from langchain_softprompt.engine import close_all
from langchain_softprompt.testing import save_tiny_model, tiny_soft_prompt
from tests.unit_tests.chat.conftest import MAX_TOKENS, QUESTION, Expected

PROMPT = ChatPromptTemplate.from_messages([("human", "{question}")])
ASK = {"messages": [("human", QUESTION)]}


def tool(question: str) -> str:
    """Answer a question."""
    return question


def _last(state: dict[str, Any]) -> str:
    return str(state["messages"][-1].text)


def test_field_decides_when_the_call_says_nothing(llm: ChatSoftPrompt, expected: Expected) -> None:
    chosen = ChatSoftPrompt(model="tiny", engine=llm.engine, max_tokens=llm.max_tokens, soft_prompt=expected.a)
    assert chosen.invoke(QUESTION).text == expected.answer_a


def test_call_wins_over_the_field(llm: ChatSoftPrompt, expected: Expected) -> None:
    assert llm.with_soft_prompt(expected.a).invoke(QUESTION, soft_prompt=expected.b).text == expected.answer_b


def test_none_in_a_call_is_the_bare_model(llm: ChatSoftPrompt, expected: Expected) -> None:
    answer = llm.with_soft_prompt(expected.a).invoke(QUESTION, soft_prompt=None)
    assert (answer.text, answer.response_metadata["soft_prompt"]) == (expected.bare, None)


def test_loaded_soft_prompt_and_path_are_choices_too(llm: ChatSoftPrompt, expected: Expected) -> None:
    assert llm.with_soft_prompt(tiny_soft_prompt(2)).invoke(QUESTION).text == expected.answer_b


def test_chain_with_a_bound_soft_prompt_uses_it(llm: ChatSoftPrompt, expected: Expected) -> None:
    chain = PROMPT | llm.bind(soft_prompt=expected.a) | StrOutputParser()
    assert chain.invoke({"question": QUESTION}) == expected.answer_a


def test_two_steps_of_one_chain_keep_their_own(llm: ChatSoftPrompt, expected: Expected) -> None:
    first = llm.with_soft_prompt(expected.a) | StrOutputParser() | RunnableLambda(lambda _: QUESTION)
    assert (PROMPT | first | llm.with_soft_prompt(expected.b)).invoke({"question": QUESTION}).text == expected.answer_b


def test_bind_gives_a_real_chat_model_and_keeps_other_arguments(llm: ChatSoftPrompt, expected: Expected) -> None:
    assert isinstance(llm.bind(soft_prompt=expected.a), ChatSoftPrompt)
    both = llm.bind(soft_prompt=expected.a, max_tokens=3)
    assert both.invoke(QUESTION).text == expected.answer_a[:3]
    assert both.bind(soft_prompt=expected.b).invoke(QUESTION).text == expected.answer_b[:3]
    assert both.with_soft_prompt(None).invoke(QUESTION).text == expected.bare[:3]
    assert isinstance(llm.with_config(tags=["x"]).bind(soft_prompt=expected.a).bound, ChatSoftPrompt)  # type: ignore[attr-defined]
    assert llm.with_config(tags=["x"]).bind(soft_prompt=expected.b).kwargs == {}  # type: ignore[attr-defined]
    assert both.with_config(tags=["x"]).bind(soft_prompt=expected.b).invoke(QUESTION).text == expected.answer_b[:3]


@pytest.mark.parametrize("length", [{}, {"max_tokens": 3}])
def test_bind_then_bind_tools_keeps_both(llm: ChatSoftPrompt, expected: Expected, length: dict[str, Any]) -> None:
    """In either order; a plain binding would hand the call to the bare model."""
    for bound in (
        llm.bind(soft_prompt=expected.a, **length).bind_tools([tool]),
        llm.bind_tools([tool]).bind(soft_prompt=expected.a, **length),
    ):
        answer = bound.invoke(QUESTION)
        assert answer.response_metadata["soft_prompt"] == expected.a
        assert answer.usage_metadata["output_tokens"] == length.get("max_tokens", MAX_TOKENS)


def test_agent_keeps_a_bound_soft_prompt(llm: ChatSoftPrompt, expected: Expected) -> None:
    agent = create_agent(llm.bind(soft_prompt=expected.a), tools=[])
    assert _last(agent.invoke(ASK)) == expected.answer_a


async def test_agent_keeps_the_soft_prompt_of_a_copy_in_async_too(llm: ChatSoftPrompt, expected: Expected) -> None:
    agent = create_agent(llm.with_soft_prompt(expected.b), tools=[])
    assert _last(await agent.ainvoke(ASK)) == expected.answer_b


def test_agent_with_tools_keeps_a_bound_soft_prompt(llm: ChatSoftPrompt, expected: Expected) -> None:
    answer = create_agent(llm.bind(soft_prompt=expected.a), tools=[tool]).invoke(ASK)["messages"][-1]
    assert answer.response_metadata["soft_prompt"] == expected.a


class _Choose(AgentMiddleware[Any, Any]):
    def __init__(self, soft_prompt: str) -> None:
        super().__init__()
        self.soft_prompt = soft_prompt

    def wrap_model_call(self, request: ModelRequest[Any], handler: Any) -> Any:
        return handler(request.override(model_settings={**request.model_settings, "soft_prompt": self.soft_prompt}))


def test_middleware_chooses_by_model_settings(llm: ChatSoftPrompt, expected: Expected) -> None:
    agent = create_agent(llm.with_soft_prompt(expected.a), tools=[], middleware=[_Choose(expected.b)])
    assert _last(agent.invoke(ASK)) == expected.answer_b


def test_middleware_chooses_with_tools_too(llm: ChatSoftPrompt, expected: Expected) -> None:
    answer = create_agent(llm, tools=[tool], middleware=[_Choose(expected.b)]).invoke(ASK)["messages"][-1]
    assert answer.response_metadata["soft_prompt"] == expected.b


def test_configurable_field_is_followed(llm: ChatSoftPrompt, expected: Expected) -> None:
    configurable = llm.with_soft_prompt(expected.a).configurable_fields(soft_prompt=ConfigurableField(id="soft_prompt"))
    assert configurable.invoke(QUESTION).text == expected.answer_a
    for config in ({"configurable": {"soft_prompt": expected.b}}, {"configurable": {"soft_prompt": tiny_soft_prompt(2)}}):
        assert configurable.invoke(QUESTION, config=config).text == expected.answer_b
    assert configurable.invoke(QUESTION, config={"configurable": {"soft_prompt": None}}).text == expected.bare
    assert (PROMPT | configurable).with_config(configurable={"soft_prompt": expected.b}).invoke(
        {"question": QUESTION}
    ).text == expected.answer_b


def test_configurable_field_streams_and_batches(llm: ChatSoftPrompt, expected: Expected) -> None:
    configurable = llm.configurable_fields(soft_prompt=ConfigurableField(id="step"))
    configs = [{"configurable": {"step": choice}} for choice in (expected.a, expected.b, None)]
    assert [answer.text for answer in configurable.batch([QUESTION] * 3, configs)] == [expected.answer_a, expected.answer_b, expected.bare]
    chunks = list(configurable.stream(QUESTION, configs[1]))
    assert "".join(chunk.text for chunk in chunks) == expected.answer_b
    assert len(chunks) > 2, "a model rebuilt by LangChain must not take the default of `streaming` for a wish"


def test_configurable_then_bind_tools_follows_the_config(llm: ChatSoftPrompt, expected: Expected) -> None:
    """LangChain hands `bind_tools` to the model as it stands; a config that names a soft prompt later would be passed over."""
    configurable: Any = llm.configurable_fields(soft_prompt=ConfigurableField(id="soft_prompt"))
    config: Any = {"configurable": {"soft_prompt": expected.a}}
    assert configurable.with_config(config).bind_tools([tool]).invoke(QUESTION).response_metadata["soft_prompt"] == expected.a
    assert configurable.bind_tools([tool]).invoke(QUESTION, config=config).response_metadata["soft_prompt"] == expected.a


def test_agent_of_a_configurable_model_follows_the_config(llm: ChatSoftPrompt, expected: Expected) -> None:
    agent = create_agent(llm.configurable_fields(soft_prompt=ConfigurableField(id="soft_prompt")), tools=[])  # type: ignore[arg-type]
    assert _last(agent.invoke(ASK, config={"configurable": {"soft_prompt": expected.b}})) == expected.answer_b


def test_init_chat_model_does_not_know_the_provider() -> None:
    with pytest.raises(ValueError, match="softprompt"):
        init_chat_model("embedded", model_provider="softprompt")


@pytest.mark.parametrize("own", [None, "acme/own"])
async def test_config_that_nobody_follows_raises(llm: ChatSoftPrompt, own: str | None) -> None:
    """LangChain drops `configurable` in silence where a model is not made configurable."""
    model, config = llm.with_soft_prompt(own), {"configurable": {"soft_prompt": "acme/other"}}
    for call in (model.invoke, model.stream, model.astream):
        with pytest.raises(UnknownArgumentError, match="configurable_fields"):
            call(QUESTION, config)  # type: ignore[operator]
    with pytest.raises(UnknownArgumentError):
        await model.ainvoke(QUESTION, config)  # type: ignore[arg-type]
    with pytest.raises(UnknownArgumentError):
        model.stream_events(QUESTION, config, version="v3")  # type: ignore[call-overload]
    with pytest.raises(UnknownArgumentError):
        (PROMPT | model).invoke({"question": QUESTION}, config)  # type: ignore[arg-type]
    with pytest.raises(UnknownArgumentError):
        create_agent(model, tools=[]).invoke(ASK, config)  # type: ignore[arg-type]


def test_config_and_call_may_say_the_same(llm: ChatSoftPrompt, expected: Expected) -> None:
    config: Any = {"configurable": {"soft_prompt": expected.a}}
    assert llm.with_soft_prompt(expected.a).invoke(QUESTION, config).text == expected.answer_a
    assert llm.invoke(QUESTION, config, soft_prompt=expected.b).text == expected.answer_b


def test_model_copy_is_checked_and_chooses(llm: ChatSoftPrompt, expected: Expected) -> None:
    assert llm.model_copy(update={"soft_prompt": expected.b}).invoke(QUESTION).text == expected.answer_b
    with pytest.raises(UnknownArgumentError, match="'soft_prompt'"):
        llm.model_copy(update={"softprompt": expected.b})
    with pytest.raises(ValueError, match="Can't read"):
        llm.model_copy(update={"soft_prompt": "no such form"})


def test_copy_shares_the_engine_and_leaves_the_original(llm: ChatSoftPrompt, expected: Expected) -> None:
    copied = llm.with_soft_prompt(expected.a)
    assert copied.engine is llm.engine
    assert llm.invoke(QUESTION).text == expected.bare


def test_trace_of_a_copy_names_its_own_soft_prompt(llm: ChatSoftPrompt, expected: Expected) -> None:
    """LangChain keeps `_serialized` on the instance, where a copy would inherit it."""
    assert expected.b not in str(llm.with_soft_prompt(expected.a)._serialized)
    assert expected.b in str(llm.with_soft_prompt(expected.a).with_soft_prompt(expected.b)._serialized)


def test_profile_of_a_copy_leaves_room_for_its_virtual_tokens(llm: ChatSoftPrompt) -> None:
    window = llm.engine.model.max_positions  # type: ignore[union-attr]
    copied = llm.with_soft_prompt(tiny_soft_prompt(1, virtual_tokens=7))
    configurable = copied.configurable_fields(soft_prompt=ConfigurableField(id="soft_prompt"))
    rebuilt = configurable.prepare({"configurable": {"soft_prompt": tiny_soft_prompt(1, virtual_tokens=9)}})[0]  # type: ignore[attr-defined]
    sizes = [model.profile["max_input_tokens"] for model in (llm, copied, copied.with_soft_prompt(None), rebuilt)]
    assert sizes == [window, window - 7, window, window - 9]  # type: ignore[operator]


def test_given_profile_is_kept(llm: ChatSoftPrompt) -> None:
    model = ChatSoftPrompt(model="tiny", engine=llm.engine, profile={"max_input_tokens": 5})
    assert model.with_soft_prompt("acme/a").profile == {"max_input_tokens": 5}


def test_config_that_names_another_loaded_soft_prompt_of_the_same_shape_raises(llm: ChatSoftPrompt) -> None:
    first, second = tiny_soft_prompt(1), tiny_soft_prompt(2)
    assert str(first) == str(second), "they are told apart by content alone"
    with pytest.raises(UnknownArgumentError, match="configurable"):
        llm.with_soft_prompt(first).invoke(QUESTION, {"configurable": {"soft_prompt": second}})
    assert llm.with_soft_prompt(first).invoke(QUESTION, {"configurable": {"soft_prompt": tiny_soft_prompt(1)}}).text


def test_profile_knows_the_window_once_the_model_is_loaded(tmp_path: Path) -> None:
    """Before that nothing is read; afterwards the model itself knows, and any new one of the same name at once."""
    folder = str(save_tiny_model(tmp_path / "model", max_positions=512))
    llm = ChatSoftPrompt(model=folder, max_tokens=1)
    assert "max_input_tokens" not in (llm.profile or {})
    try:
        llm.invoke(QUESTION)
        assert (llm.profile or {})["max_input_tokens"] == 512
        assert (llm.with_soft_prompt(tiny_soft_prompt(1)).profile or {})["max_input_tokens"] == 512 - 4
        assert (ChatSoftPrompt(model=folder).profile or {})["max_input_tokens"] == 512
        own = ChatSoftPrompt(model=folder, profile={"max_input_tokens": 100}, max_tokens=1)
        own.invoke(QUESTION)
        assert own.profile == {"max_input_tokens": 100}
    finally:
        close_all()
