"""SoftPromptLLM: text in, its continuation out, under the soft prompt that was chosen and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core import exceptions as langchain_errors
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import ConfigurableField
from tokenizers.processors import TemplateProcessing

from langchain_softprompt import ChatSoftPrompt, SoftPromptLLM
from langchain_softprompt.calls.errors import RequestTimeoutError, UnknownArgumentError
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import ContextLengthError, InvalidReferenceError, InvalidSettingsError, SoftPromptNotFoundError
from langchain_softprompt.settings import EngineLimits
from langchain_softprompt.testing import FakeEngine, tiny_model, tiny_soft_prompt, tiny_tokenizer
from tests.unit_tests.engine.inside import check_nothing_left
from tests.unit_tests.engine.tiny import generate, wait_until_idle

PROMPT = "The sea is"
NEW = 12
A, B = tiny_soft_prompt(1, source="a"), tiny_soft_prompt(2, source="b")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(tiny_model()) as engine:
        yield engine
        wait_until_idle(engine)
        check_nothing_left(engine)


@pytest.fixture
def llm(engine: Engine) -> SoftPromptLLM:
    """The bare model."""
    return SoftPromptLLM(model="tiny", engine=engine, max_tokens=NEW)


def fake(answers: Any = ("OK",), **fields: Any) -> SoftPromptLLM:
    return SoftPromptLLM(model="fake", engine=FakeEngine(answers), **fields)


def oracle(soft_prompt: Any = None, prompt: str = PROMPT) -> str:
    """What transformers itself continues the text with."""
    model = tiny_model()
    assert model.tokenizer is not None
    token_ids = model.tokenizer(prompt)["input_ids"]
    return str(model.tokenizer.decode(generate(model, token_ids, soft_prompt, new=NEW), skip_special_tokens=True))


# Answers.


@pytest.mark.parametrize("soft_prompt", [None, A, B], ids=["bare", "a", "b"])
async def test_text_is_continued_as_transformers_continues_it(llm: SoftPromptLLM, soft_prompt: Any) -> None:
    """However it is asked for: no chat template stands around the text."""
    want, model = oracle(soft_prompt), llm.with_soft_prompt(soft_prompt)
    assert model.invoke(PROMPT) == want
    assert await model.ainvoke(PROMPT) == want
    pieces = list(model.stream(PROMPT))
    assert ("".join(pieces), len(pieces) > 2) == (want, True)
    assert "".join([piece async for piece in model.astream(PROMPT)]) == want
    assert model.batch([PROMPT, PROMPT]) == await model.abatch([PROMPT, PROMPT]) == [want, want]
    assert [each[0].text for each in model.generate([PROMPT, "x", PROMPT]).generations] == [want, oracle(soft_prompt, "x"), want]
    assert [each[0].text for each in (await model.agenerate([PROMPT, "x"])).generations] == [want, oracle(soft_prompt, "x")]


def test_soft_prompts_are_told_apart_by_what_they_make_the_model_say() -> None:
    assert len({oracle(None), oracle(A), oracle(B)}) == 3


def test_tokens_that_a_tokenizer_puts_before_any_text_are_there() -> None:
    tokenizer = tiny_tokenizer()
    begin = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", begin)])
    engine = FakeEngine(tokenizer=tokenizer)
    llm = SoftPromptLLM(model="fake", engine=engine)
    llm.invoke("x")
    assert engine.requests[0].prompt == "<|endoftext|>x"
    assert llm.get_num_tokens("x") == 1, "a text is counted as part of a prompt"
    assert llm.get_num_tokens_from_messages([HumanMessage("x")]) == len("Human: x") + 1


def test_chain_with_a_string_template(llm: SoftPromptLLM) -> None:
    chain = PromptTemplate.from_template("The {what} is") | llm.with_soft_prompt(A) | StrOutputParser()
    assert chain.invoke({"what": "sea"}) == oracle(A)


def test_stop_strings_end_the_text_and_are_not_part_of_it(llm: SoftPromptLLM) -> None:
    text = oracle()
    assert llm.invoke(PROMPT, stop=[text[4:7]]) == text[:4]
    assert "".join(llm.model_copy(update={"stop": [text[4:7]]}).stream(PROMPT)) == text[:4]


def test_generation_tells_its_end_its_usage_and_its_soft_prompt(llm: SoftPromptLLM) -> None:
    result = llm.generate([PROMPT, "x"], soft_prompt=A)
    info: Any = result.generations[0][0].generation_info
    assert (info["finish_reason"], info["soft_prompt"], info["num_virtual_tokens"]) == ("length", "a", 4)
    assert info["usage_metadata"]["input_tokens"] == len(PROMPT) + 4
    assert result.llm_output == {
        "token_usage": {"prompt_tokens": len(PROMPT) + 1 + 8, "completion_tokens": 2 * NEW, "total_tokens": len(PROMPT) + 1 + 8 + 2 * NEW},
        "model_name": "tiny",
    }


def test_tokens_are_counted_with_the_virtual_ones(llm: SoftPromptLLM) -> None:
    bare = llm.get_num_tokens_from_messages([HumanMessage("x")])
    assert bare == len("Human: x")
    assert llm.with_soft_prompt(A).get_num_tokens_from_messages([HumanMessage("x")]) == bare + 4
    assert llm.with_soft_prompt(A).get_num_tokens_from_messages([]) == 4


def test_many_prompts_of_one_call_reach_the_engine_together_but_never_more_than_it_takes() -> None:
    """More than the queue holds; sent at once, the last would be refused."""
    with Engine(tiny_model(), limits=EngineLimits(max_rows=2, max_queue=2)) as engine:
        many = [f"{number}" for number in range(20)]
        llm = SoftPromptLLM(model="tiny", engine=engine, max_tokens=2)
        texts = [each[0].text for each in llm.generate(many).generations]
        assert texts == [llm.invoke(text) for text in many]


# The choice is never lost.


def test_every_way_to_choose(llm: SoftPromptLLM, tmp_path: Path) -> None:
    folder, want = A.save(tmp_path / "a"), oracle(A)
    assert llm.invoke(PROMPT, soft_prompt=folder) == want
    assert llm.with_soft_prompt(B).invoke(PROMPT, soft_prompt=str(folder)) == want
    assert llm.with_soft_prompt(A).invoke(PROMPT, soft_prompt=None) == oracle()
    assert "".join(llm.stream(PROMPT, soft_prompt=A)) == want
    assert llm.batch([PROMPT], soft_prompt=A) == [want]
    assert isinstance(llm.bind(soft_prompt=A), SoftPromptLLM)
    assert llm.bind(soft_prompt=A, max_tokens=3).invoke(PROMPT) == want[:3]
    assert llm.bind(max_tokens=3).bind(soft_prompt=A).invoke(PROMPT) == want[:3]
    configurable = llm.configurable_fields(soft_prompt=ConfigurableField(id="soft_prompt"))
    assert configurable.invoke(PROMPT, {"configurable": {"soft_prompt": A}}) == want
    carrying = ChatPromptTemplate([("system", [{"type": "soft_prompt", "soft_prompt": A}]), ("human", "x")])
    assert (carrying | llm).invoke({}) == oracle(A, "Human: x")


async def test_config_that_nobody_follows_raises(llm: SoftPromptLLM) -> None:
    config: Any = {"configurable": {"soft_prompt": "acme/other"}}
    for call in (llm.invoke, llm.stream, lambda *args: llm.batch([args[0]], args[1])):
        with pytest.raises(UnknownArgumentError, match="configurable_fields"):
            call(PROMPT, config)
    with pytest.raises(UnknownArgumentError):
        await llm.ainvoke(PROMPT, config)
    with pytest.raises(UnknownArgumentError):
        await anext(llm.astream(PROMPT, config))


async def test_unknown_argument_is_refused_everywhere(llm: SoftPromptLLM) -> None:
    with pytest.raises(UnknownArgumentError, match="'soft_prompt'"):
        SoftPromptLLM(model="tiny", softprompt="acme/a")
    for call in (llm.invoke, llm.stream, lambda text, **kwargs: llm.generate([text], **kwargs), lambda _, **kwargs: llm.bind(**kwargs)):
        with pytest.raises(UnknownArgumentError, match="Did you mean 'soft_prompt'"):
            call(PROMPT, softprompt="acme/a")
    with pytest.raises(UnknownArgumentError, match="second SoftPromptLLM"):
        llm.invoke(PROMPT, model="other")
    with pytest.raises(UnknownArgumentError):
        await llm.ainvoke(PROMPT, softprompt="acme/a")
    with pytest.raises(InvalidReferenceError):
        llm.invoke(PROMPT, soft_prompt="no such form")
    with pytest.raises(InvalidSettingsError):
        llm.invoke(PROMPT, temperature=-1)


# LangChain's cache.


async def test_llm_cache_keeps_apart_all_that_an_answer_depends_on() -> None:
    """LangChain's own key for completion models holds the model's fields and none of a call's arguments."""
    answers = iter(range(100))
    llm = fake(lambda _: str(next(answers)), cache=InMemoryCache())
    calls: list[dict[str, Any]] = [
        {},
        {"soft_prompt": A},
        {"soft_prompt": B},
        {"max_tokens": 9},
        {"temperature": 1.0},
        {"stop": ["x"]},
    ]
    first = [llm.invoke(PROMPT, **arguments) for arguments in calls]
    assert first == [str(number) for number in range(len(calls))]
    assert [llm.invoke(PROMPT, **arguments) for arguments in calls] == first
    assert [await llm.ainvoke(PROMPT, **arguments) for arguments in calls] == first
    assert llm.with_soft_prompt(A).invoke(PROMPT) == first[1]
    assert llm.model_copy(update={"stop": ["x"]}).invoke(PROMPT) == first[5]
    assert llm.model_copy(update={"engine": FakeEngine(["another"], name="other weights")}).invoke(PROMPT) == "another"


def test_llm_cache_follows_the_content_of_a_folder(tmp_path: Path) -> None:
    llm = fake(lambda request: request.soft_prompt.content_hash[:5], cache=InMemoryCache())
    folder = A.save(tmp_path / "mood")
    assert llm.invoke(PROMPT, soft_prompt=folder) == A.content_hash[:5]
    B.save(folder)
    assert llm.invoke(PROMPT, soft_prompt=folder) == B.content_hash[:5]


def test_global_llm_cache_is_kept_apart_too_and_from_the_chat_model() -> None:
    set_llm_cache(InMemoryCache())
    try:
        llm = fake(lambda request: request.soft_prompt.source if request.soft_prompt else "bare")
        assert [llm.invoke(PROMPT, soft_prompt=choice) for choice in (A, B, None, A)] == ["a", "b", "bare", "a"]
        assert ChatSoftPrompt(model="fake", engine=FakeEngine(["chat"])).invoke(PROMPT).text == "chat"
    finally:
        set_llm_cache(None)


# Traces.


class _Told(BaseCallbackHandler):
    def __init__(self) -> None:
        self.metadata: list[Any] = []
        self.tokens: list[str] = []

    def on_llm_start(self, *_: Any, metadata: Any = None, **__: Any) -> None:
        self.metadata.append(metadata)

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.tokens.append(token)


def test_trace_names_the_soft_prompt_that_answers_and_hears_each_token(llm: SoftPromptLLM) -> None:
    told = _Told()
    text = "".join(llm.with_soft_prompt(B).stream(PROMPT, {"callbacks": [told]}, soft_prompt=A))
    llm.invoke(PROMPT, {"callbacks": [told]}, soft_prompt=A)
    assert "".join(told.tokens) == text
    assert [(each["softprompt_source"], each["ls_model_type"], each["ls_max_tokens"]) for each in told.metadata] == [("a", "llm", NEW)] * 2


# Errors, and giving up.


async def test_errors_are_langchains_too(tmp_path: Path) -> None:
    with Engine(tiny_model(max_positions=32)) as engine:
        small = SoftPromptLLM(model="tiny", engine=engine, max_tokens=8)
        for call in (small.invoke, lambda text: list(small.stream(text))):
            with pytest.raises(langchain_errors.ContextOverflowError):
                call("long " * 50)
    with pytest.raises(langchain_errors.ModelNotFoundError):
        fake().invoke(PROMPT, soft_prompt=tmp_path / "nowhere")
    with pytest.raises(SoftPromptNotFoundError):
        await fake(soft_prompt=tmp_path / "nowhere").ainvoke(PROMPT)


async def test_one_items_error_is_its_own() -> None:
    """LangChain's own batch of a completion model gives every item the one error."""
    llm = fake(lambda request: ContextLengthError("x") if request.prompt == "bad" else "fine")
    for answers in (llm.batch(["a", "bad", "b"], return_exceptions=True), await llm.abatch(["a", "bad", "b"], return_exceptions=True)):
        assert [isinstance(answer, ContextLengthError) for answer in answers] == [False, True, False]
    with pytest.raises(ContextLengthError):
        llm.generate(["a", "bad", "b"])


def test_prompts_beside_a_failing_one_are_given_up() -> None:
    engine = FakeEngine(lambda request: ContextLengthError("x") if request.prompt == "bad" else "fine")
    with pytest.raises(ContextLengthError):
        SoftPromptLLM(model="fake", engine=engine).generate(["bad", "a"])
    assert engine.requests[1].generation.cancelled


def test_timeout_ends_the_answer(llm: SoftPromptLLM) -> None:
    with pytest.raises(RequestTimeoutError):
        llm.invoke(PROMPT, timeout=1e-6, max_tokens=1_000)


class _Leaving(AsyncCallbackHandler):
    raise_error = True

    async def on_llm_new_token(self, *_: Any, **__: Any) -> None:
        raise KeyError


async def test_whoever_leaves_frees_the_row() -> None:
    with Engine(tiny_model(max_positions=8_192)) as engine:
        llm = SoftPromptLLM(model="tiny", engine=engine, max_tokens=4_000)
        pieces: Any = llm.stream(PROMPT)
        next(pieces)
        pieces.close()
        apieces: Any = llm.astream(PROMPT)
        await anext(apieces)
        await apieces.aclose()
        task = asyncio.ensure_future(llm.agenerate([PROMPT, PROMPT]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(KeyError):
            _ = [piece async for piece in llm.astream(PROMPT, {"callbacks": [_Leaving()]})]
        await asyncio.to_thread(wait_until_idle, engine)
        check_nothing_left(engine)


def test_building_one_reads_nothing_and_a_copy_names_its_own_soft_prompt() -> None:
    llm = SoftPromptLLM(model="acme/nowhere", soft_prompt="acme/a")
    assert "acme/a" in str(llm._serialized)
    assert "acme/b" in str(llm.with_soft_prompt("acme/b")._serialized)
    assert llm.metadata is not None
    assert "langchain-softprompt" in llm.metadata["lc_versions"]


def test_a_call_may_ask_for_log_probabilities_and_may_leave_them(llm: SoftPromptLLM) -> None:
    """As it may of the chat model."""

    def told(model: SoftPromptLLM, **arguments: Any) -> list[Any]:
        (generation,) = model.generate([PROMPT], max_tokens=2, **arguments).generations[0]
        return [entry["top_logprobs"] for entry in (generation.generation_info or {}).get("logprobs", {}).get("content", [])]

    assert told(llm) == []
    assert told(llm, logprobs=True) == [[], []]
    assert [len(top) for top in told(llm, top_logprobs=3)] == [3, 3]
    assert told(llm.model_copy(update={"top_logprobs": 3}), logprobs=False) == []
