"""LangChain's documented ways to build a chain, with `ChatSoftPrompt` put in: all of them work, and each step wears its own soft prompt."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, trim_messages
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser, PydanticToolsParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, FewShotChatMessagePromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableBranch, RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import BaseModel

from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.testing import FakeEngine
from tests.integration_tests.scripted import asked, chat, soft, wore

A, B, C = soft("a"), soft("b"), soft("c")
PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{text}")])
ASK = {"text": "Hello"}


class Joke(BaseModel):
    """A joke."""

    setup: str
    kind: Literal["pun", "riddle"]


JOKE = {"setup": "x", "kind": "pun"}


async def test_prompt_model_and_parser_in_one_chain() -> None:
    """After LangChain's page on its expression language: invoke, batch, stream, and the same in async."""
    chain = PROMPT | chat().with_soft_prompt(A) | StrOutputParser()
    assert chain.invoke(ASK) == "a"
    assert chain.batch([ASK] * 3) == ["a"] * 3
    assert "".join(chain.stream(ASK)) == "a"
    assert await chain.ainvoke(ASK) == "a"
    assert await chain.abatch([ASK] * 3) == ["a"] * 3
    assert "".join([chunk async for chunk in chain.astream(ASK)]) == "a"


async def test_events_of_a_chain_name_the_soft_prompt() -> None:
    """After the page on streaming: ``astream_events`` in version 2."""
    events = [event async for event in (PROMPT | chat().with_soft_prompt(A) | StrOutputParser()).astream_events(ASK, version="v2")]
    streamed = [event for event in events if event["event"] == "on_chat_model_stream"]
    assert {event["metadata"]["softprompt_source"] for event in streamed} == {"a"}
    assert events[-1]["data"]["output"] == "a"


def test_steps_side_by_side() -> None:
    """After the page on running things in parallel: a map of chains, invoked and streamed."""
    llm = chat()
    steps: Any = {name: PROMPT | llm.with_soft_prompt(prompt) | StrOutputParser() for name, prompt in (("x", A), ("y", B), ("z", C))}
    assert RunnableParallel(steps).invoke(ASK) == {"x": "a", "y": "b", "z": "c"}
    told: dict[str, str] = {}
    for chunk in RunnableParallel(steps).stream(ASK):
        told = {name: told.get(name, "") + chunk.get(name, "") for name in {*told, *chunk}}
    assert told == {"x": "a", "y": "b", "z": "c"}


def test_route_by_a_branch_and_by_a_function() -> None:
    """After the page on routing: a branch, and a function that gives back a chain."""
    llm = chat()
    first, other = PROMPT | llm.with_soft_prompt(A), PROMPT | llm.with_soft_prompt(B)
    branch: Any = RunnableBranch((lambda given: "card" in given["text"], first), other)
    function: Any = RunnableLambda(lambda given: first if "card" in given["text"] else other)
    for router in (branch, function):
        assert [wore(router.invoke({"text": text})) for text in ("my card", "hello")] == ["a", "b"]


def test_values_are_passed_on_and_added() -> None:
    """After the pages on passing data through and on assigning keys."""
    answer: Any = RunnablePassthrough.assign(said=PROMPT | chat().with_soft_prompt(A) | StrOutputParser()).assign(
        length=lambda given: len(given["said"])
    )
    assert answer.invoke(ASK) == {**ASK, "said": "a", "length": 1}


def test_fields_and_alternatives_chosen_by_the_config() -> None:
    """After the page on configuring chains at run time."""
    llm = chat()
    fields = PROMPT | llm.configurable_fields(
        soft_prompt=ConfigurableField(id="skill"), temperature=ConfigurableField(id="warmth", name="Temperature")
    )
    assert wore(fields.with_config(configurable={"skill": A, "warmth": 0.5}).invoke(ASK)) == "a"
    assert llm.engine.requests[-1].settings.temperature == 0.5  # type: ignore[union-attr]
    models = PROMPT | llm.with_soft_prompt(A).configurable_alternatives(
        ConfigurableField(id="model"), default_key="a", b=llm.with_soft_prompt(B), c=lambda: llm.with_soft_prompt(C)
    )
    assert [wore(models.invoke(ASK, {"configurable": choice})) for choice in ({}, {"model": "b"}, {"model": "c"})] == ["a", "b", "c"]


def test_fallbacks_and_retries() -> None:
    """After the page on fallbacks: of a model, and of a chain with another prompt."""
    engine = FakeEngine([RequestFailedError("x")])
    broken, llm = chat().model_copy(update={"engine": engine}).with_soft_prompt(A), chat()
    assert wore((PROMPT | broken.with_fallbacks([llm.with_soft_prompt(B)])).invoke(ASK)) == "b"
    spare = ChatPromptTemplate.from_messages([("human", "In other words: {text}")]) | llm.with_soft_prompt(C)
    assert wore((PROMPT | broken).with_fallbacks([spare]).invoke(ASK)) == "c"
    flaky = broken.model_copy(update={"engine": FakeEngine([RequestFailedError("x"), "fine"])})
    assert (PROMPT | flaky.with_retry(wait_exponential_jitter=False)).invoke(ASK).text == "fine"
    assert asked(flaky) == asked(broken) == ["a", "a"]


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_history_of_a_session() -> None:
    """After the page on message histories: the template carries the soft prompt, and the history grows behind it."""
    sessions: dict[str, InMemoryChatMessageHistory] = {}
    prompt = ChatPromptTemplate.from_messages(
        [("system", [{"type": "soft_prompt", "soft_prompt": A}]), MessagesPlaceholder("history"), ("human", "{text}")]
    )
    llm = chat()
    chain = RunnableWithMessageHistory(
        prompt | llm,
        lambda session: sessions.setdefault(session, InMemoryChatMessageHistory()),
        input_messages_key="text",
        history_messages_key="history",
    )
    config: Any = {"configurable": {"session_id": "1"}}
    assert [wore(chain.invoke(ASK, config)) for _ in range(2)] == ["a", "a"]
    assert len(sessions["1"].messages) == 4
    assert llm.engine.requests[-1].prompt.count("Hello") == 2  # type: ignore[union-attr]


def test_messages_trimmed_by_the_models_own_count() -> None:
    """After the page on trimming messages: the model is the counter, and the trimmer a step of the chain."""
    llm = chat().with_soft_prompt(A)
    chat_so_far = [SystemMessage("Be kind."), HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("What is 2 + 2?"), AIMessage("4")]
    room = llm.get_num_tokens_from_messages(chat_so_far[:1]) + llm.get_num_tokens_from_messages(chat_so_far[3:])
    trimmer = trim_messages(max_tokens=room, strategy="last", token_counter=llm, include_system=True, start_on="human")
    assert trimmer.invoke(chat_so_far) == [chat_so_far[0], *chat_so_far[3:]]
    assert wore((trimmer | llm).invoke([*chat_so_far, HumanMessage("Bye")])) == "a"


def test_examples_in_the_prompt() -> None:
    """After the page on few-shot prompts for chat models."""
    turn = ChatPromptTemplate.from_messages([("human", "{input}"), ("ai", "{output}")])
    shots = FewShotChatMessagePromptTemplate(
        example_prompt=turn, examples=[{"input": "2+2", "output": "4"}, {"input": "2+3", "output": "5"}]
    )
    llm = chat()
    assert (
        wore((ChatPromptTemplate.from_messages([("system", "Add."), shots, ("human", "{text}")]) | llm.bind(soft_prompt=A)).invoke(ASK))
        == "a"
    )
    assert llm.engine.requests[0].prompt.count("<|im_start|>assistant") == 3  # type: ignore[union-attr]


def test_output_parsers() -> None:
    """After the pages on output parsers: Pydantic with format instructions, JSON in a stream, tool calls as objects."""
    llm = chat(form=JOKE, arguments={"Joke": JOKE}).with_soft_prompt(A)
    held = llm.bind(response_format={"type": "json_schema", "json_schema": {"name": "Joke", "schema": Joke.model_json_schema()}})
    parser = PydanticOutputParser(pydantic_object=Joke)
    prompt = PromptTemplate.from_template("{how}\n{text}", partial_variables={"how": parser.get_format_instructions()})
    assert (prompt | held | parser).invoke(ASK) == Joke(**JOKE)  # type: ignore[arg-type]
    assert list((prompt | held | JsonOutputParser()).stream(ASK))[-1] == JOKE
    assert (llm.bind_tools([Joke], tool_choice="any") | PydanticToolsParser(tools=[Joke])).invoke("Hello") == [Joke(**JOKE)]  # type: ignore[arg-type]
    assert asked(llm) == ["a"] * 3


def test_structured_output() -> None:
    """After the page on structured output: a class, and the raw message beside it."""
    llm = chat(form=JOKE)
    for chain in (
        PROMPT | llm.with_soft_prompt(A).with_structured_output(Joke),
        PROMPT | llm.bind(soft_prompt=A).with_structured_output(Joke),  # type: ignore[attr-defined]
    ):
        assert chain.invoke(ASK) == Joke(**JOKE)  # type: ignore[arg-type]
    raw: Any = llm.with_structured_output(Joke, include_raw=True).invoke("Hello", soft_prompt=A)
    assert (wore(raw["raw"]), raw["parsed"], raw["parsing_error"]) == ("a", Joke(**JOKE), None)  # type: ignore[arg-type]


def test_answers_from_documents() -> None:
    """After the tutorial on retrieval: a retriever and the question side by side, then prompt, model and parser."""
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents([Document("The bank opens at nine."), Document("Cards take five days.")])
    prompt = ChatPromptTemplate.from_template("{context}\n{question}")
    llm = chat()
    found: Any = store.as_retriever(search_kwargs={"k": 1}) | (lambda documents: documents[0].page_content)
    chain: Any = {"context": found, "question": RunnablePassthrough()} | prompt | llm.with_soft_prompt(A) | StrOutputParser()
    assert chain.invoke("The bank opens at nine.") == "a"
    assert llm.engine.requests[0].prompt.count("opens at nine") == 2  # type: ignore[union-attr]


def test_tool_called_by_hand() -> None:
    """After the page on passing tool outputs to chat models: call, run, and hand the result back; streamed chunks add up to the call."""

    @tool
    def multiply(a: int, b: int) -> int:
        """Multiply two numbers."""
        return a * b

    llm: Any = chat(arguments={"multiply": {"a": 3, "b": 4}}).with_soft_prompt(A).bind_tools([multiply])
    messages: list[Any] = [HumanMessage("What is 3 times 4?")]
    messages.append(llm.invoke(messages))
    messages += [multiply.invoke(call) for call in messages[-1].tool_calls]
    assert messages[-1].content == "12"
    assert llm.invoke(messages).text == "a"
    first, *rest = llm.stream("What is 3 times 4?")
    assert sum(rest, first).tool_calls[0]["args"] == {"a": 3, "b": 4}


def test_answers_from_a_cache() -> None:
    """After the page on caching chat models."""
    llm = chat().model_copy(update={"cache": InMemoryCache()})
    assert [llm.with_soft_prompt(prompt).invoke("Hello").text for prompt in (A, B, A, B)] == ["a", "b", "a", "b"]
    assert asked(llm) == ["a", "b"]


@pytest.mark.filterwarnings("ignore:.*in beta")
def test_chain_as_a_tool_and_stop_strings() -> None:
    """After the pages on chains as tools and on binding arguments."""
    chain = PROMPT | chat().with_soft_prompt(soft("alpha")) | StrOutputParser()
    assert chain.as_tool(name="ask", description="Ask.", arg_types={"text": str}).invoke(ASK) == "alpha"
    assert (PROMPT | chat().with_soft_prompt(soft("alpha")).bind(stop=["h"])).invoke(ASK).text == "alp"


def test_usage_counted_over_calls() -> None:
    """After the page on token usage: a callback adds up what several calls took, by the frozen model's name."""
    llm = chat()
    with get_usage_metadata_callback() as counted:
        used = [llm.with_soft_prompt(prompt).invoke("Hello").usage_metadata["input_tokens"] for prompt in (A, B)]  # type: ignore[index]
    assert counted.usage_metadata["fake"]["input_tokens"] == sum(used)
