"""One answer: its text, its end, its usage and metadata, in one piece, in chunks, and in an event loop."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage

from langchain_softprompt.chat_models import ChatSoftPrompt, RequestTimeoutError
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import RequestCancelledError
from langchain_softprompt.soft_prompt import Manifest
from langchain_softprompt.soft_prompt.manifest import BaseModelRecord
from langchain_softprompt.testing import FakeEngine, tiny_model, tiny_soft_prompt, tiny_tokenizer
from tests.unit_tests.chat.conftest import MAX_TOKENS, QUESTION, Expected
from tests.unit_tests.chat.test_messages import DEFAULTING

LONG = 1500


def _fake(*answers: str, **fields: Any) -> ChatSoftPrompt:
    return ChatSoftPrompt(model="fake", engine=FakeEngine(answers), **fields)


def _sum(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    return total


def test_answer_is_the_text_alone() -> None:
    answer = _fake("Paris. 🎉").invoke(QUESTION)
    assert isinstance(answer, AIMessage)
    assert answer.content == "Paris. 🎉"


def test_metadata_names_model_reason_and_soft_prompt(llm: ChatSoftPrompt, expected: Expected) -> None:
    soft_prompt = tiny_soft_prompt(1)
    assert llm.with_soft_prompt(expected.a).invoke(QUESTION).response_metadata == {
        "model_name": "tiny",
        "model_provider": "softprompt",
        "finish_reason": "length",
        "soft_prompt": expected.a,
        "soft_prompt_hash": soft_prompt.content_hash,
        "soft_prompt_type": "PREFIX_TUNING",
        "num_virtual_tokens": 4,
    }


def test_metadata_of_a_hub_soft_prompt_has_its_commit() -> None:
    metadata = _fake("x").invoke(QUESTION, soft_prompt=tiny_soft_prompt(1).with_source("acme/mood@v1", "c0ffee")).response_metadata
    assert (metadata["soft_prompt"], metadata["soft_prompt_revision"]) == ("acme/mood@v1", "c0ffee")


@pytest.mark.parametrize(
    ("answer", "fields", "reason"), [("a", {}, "stop"), ("abcdef", {"max_tokens": 3}, "length"), ("abc", {"stop": ["c"]}, "stop_sequence")]
)
def test_finish_reason_is_told(answer: str, fields: dict[str, Any], reason: str) -> None:
    assert _fake(answer, **fields).invoke(QUESTION).response_metadata["finish_reason"] == reason
    assert list(_fake(answer, **fields).stream(QUESTION))[-1].response_metadata["finish_reason"] == reason


def test_usage_counts_text_virtual_and_cached_tokens(llm: ChatSoftPrompt) -> None:
    bare = llm.invoke(QUESTION).usage_metadata
    assert bare is not None
    choice = tiny_soft_prompt(99, virtual_tokens=6)
    first, second = (llm.invoke(QUESTION, soft_prompt=choice).usage_metadata for _ in range(2))
    size = bare["input_tokens"] + 6
    counted = {"input_tokens": size, "output_tokens": MAX_TOKENS, "total_tokens": size + MAX_TOKENS}
    assert first == {**counted, "input_token_details": {"cache_read": 0}}
    # The second time only the last token of the prompt is read: without it there would be nothing to go on from.
    assert second == {**counted, "input_token_details": {"cache_read": size - 1}}


def test_counting_tokens_agrees_with_usage(llm: ChatSoftPrompt, expected: Expected) -> None:
    chosen, messages = llm.with_soft_prompt(expected.a), [SystemMessage("Be brief."), HumanMessage(QUESTION)]
    usage = chosen.invoke(messages).usage_metadata
    assert usage is not None
    assert chosen.get_num_tokens_from_messages(messages) == usage["input_tokens"]
    assert chosen.get_num_tokens_from_messages([]) == 4
    assert chosen.get_num_tokens("é") == 2
    assert llm.model_copy(update={"custom_get_token_ids": lambda _: [1, 2, 3]}).get_num_tokens("é") == 3


def test_streamed_text_is_the_invoked_text(llm: ChatSoftPrompt, expected: Expected) -> None:
    chunks = list(llm.stream(QUESTION, soft_prompt=expected.a))
    assert "".join(chunk.text for chunk in chunks) == expected.answer_a
    assert len(chunks) == MAX_TOKENS + 1


async def test_async_answers_are_the_same(llm: ChatSoftPrompt, expected: Expected) -> None:
    chunks = [chunk async for chunk in llm.astream(QUESTION, soft_prompt=expected.a)]
    assert "".join(chunk.text for chunk in chunks) == expected.answer_a
    assert (await llm.ainvoke(QUESTION, soft_prompt=expected.a)).text == expected.answer_a


def test_usage_and_metadata_are_on_the_last_chunk_alone(llm: ChatSoftPrompt, expected: Expected) -> None:
    """Strings in metadata are joined when chunks are added up."""
    chosen = llm.with_soft_prompt(expected.a)
    chosen.invoke(QUESTION)
    chunks = list(chosen.stream(QUESTION))
    assert [chunk.chunk_position for chunk in chunks] == [None] * (len(chunks) - 1) + ["last"]
    assert not any(chunk.usage_metadata or chunk.response_metadata for chunk in chunks[:-1])
    whole, total = chosen.invoke(QUESTION), _sum(chunks)
    assert total.response_metadata == whole.response_metadata
    assert total.usage_metadata == whole.usage_metadata


def test_v1_output_has_one_text_block() -> None:
    llm = _fake("Hello there", output_version="v1")
    assert [block["type"] for block in _sum(list(llm.stream(QUESTION))).content_blocks] == ["text"]
    assert llm.invoke(QUESTION).content == [{"type": "text", "text": "Hello there"}]


@pytest.mark.parametrize("stop", [["END"], ["zzz", "END"], ["🎉"]])
async def test_stop_strings_of_several_tokens_cut_every_kind_of_answer(stop: list[str]) -> None:
    """A partial stop string is held back, so no chunk ever shows a part of it."""
    text = "one EN two END 🎉 three"
    cut = min(text.find(string) for string in stop if string in text)
    llm = _fake(text)
    assert llm.invoke(QUESTION, stop=stop).text == text[:cut]
    assert (await llm.ainvoke(QUESTION, stop=stop)).text == text[:cut]
    assert "".join(chunk.text for chunk in llm.stream(QUESTION, stop=stop)) == text[:cut]
    assert "".join([chunk.text async for chunk in llm.astream(QUESTION, stop=stop)]) == text[:cut]


def test_stop_string_ends_the_request_in_the_engine(llm: ChatSoftPrompt, expected: Expected) -> None:
    stop = expected.answer_a[4:7]
    cut = expected.answer_a.find(stop)
    answer = llm.invoke(QUESTION, soft_prompt=expected.a, stop=[stop], max_tokens=LONG)
    assert answer.text == expected.answer_a[:cut]
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == cut + len(stop)
    _wait_until_idle(llm.engine)


def test_stop_of_a_call_takes_the_place_of_the_fields() -> None:
    llm = _fake("a b c", stop=["b"])
    assert [llm.invoke(QUESTION).text, llm.invoke(QUESTION, stop=["c"]).text, llm.invoke(QUESTION, stop=[]).text] == ["a ", "a b ", "a b c"]


def test_unicode_streams_in_whole_characters() -> None:
    chunks = [chunk.text for chunk in _fake("Grüße 日本 🎉").stream(QUESTION)]
    assert "".join(chunks) == "Grüße 日本 🎉"
    assert "\ufffd" not in "".join(chunks)


def test_streaming_field_false_answers_in_one_chunk_and_true_streams_inside_invoke() -> None:
    assert [chunk.text for chunk in _fake("abc", streaming=False).stream(QUESTION)] == ["abc"]
    tokens = _Tokens()
    assert _fake("abc", streaming=True).invoke(QUESTION, {"callbacks": [tokens]}).text == "abc"
    assert tokens.seen == ["a", "b", "c", ""]


class _Tokens(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.events: list[str] = []
        self.metadata: dict[str, Any] = {}
        self.parameters: dict[str, Any] = {}

    def on_chat_model_start(self, *_: Any, **kwargs: Any) -> None:
        self.events.append("start")
        self.metadata = kwargs["metadata"]
        self.parameters = kwargs["invocation_params"]

    def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.seen.append(token)

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.events.append("end")

    def on_llm_error(self, *_: Any, **__: Any) -> None:
        self.events.append("error")


def test_each_token_is_told_to_callbacks_once() -> None:
    tokens = _Tokens()
    list(_fake("abc").stream(QUESTION, {"callbacks": [tokens]}))
    assert (tokens.seen, tokens.events) == (["a", "b", "c", ""], ["start", "end"])


async def test_each_token_is_told_to_async_callbacks_once() -> None:
    seen = []

    class Handler(AsyncCallbackHandler):
        async def on_llm_new_token(self, token: Any, **_: Any) -> None:
            seen.append(token)

    async for _ in _fake("abc").astream(QUESTION, {"callbacks": [Handler()]}):
        pass
    assert seen == ["a", "b", "c", ""]


def test_invoke_tells_no_tokens_and_one_end() -> None:
    tokens = _Tokens()
    _fake("abc").invoke(QUESTION, {"callbacks": [tokens]})
    assert (tokens.seen, tokens.events) == ([], ["start", "end"])


def test_failure_is_told_to_callbacks_once() -> None:
    tokens = _Tokens()
    with pytest.raises(TypeError):
        _fake("abc").invoke(QUESTION, {"callbacks": [tokens]}, adapter="x")
    assert tokens.events == ["start", "error"]


async def test_events_of_both_kinds_tell_the_text() -> None:
    streamed = [event async for event in _fake("abc").astream_events(QUESTION, version="v2")]
    assert "".join(event["data"]["chunk"].text for event in streamed if event["event"] == "on_chat_model_stream") == "abc"


def test_trace_names_the_soft_prompt(expected: Expected) -> None:
    tokens = _Tokens()
    llm = _fake("abc", temperature=0.5, stop=["x"])
    llm.invoke(QUESTION, {"callbacks": [tokens]}, soft_prompt=expected.a)
    hash_ = tiny_soft_prompt(1).content_hash
    wanted = {
        "ls_provider": "softprompt",
        "ls_model_name": "fake",
        "ls_temperature": 0.5,
        "ls_max_tokens": 256,
        "ls_stop": ["x"],
        "softprompt_source": expected.a,
        "softprompt_hash": hash_,
        "softprompt_type": "PREFIX_TUNING",
        "softprompt_num_virtual_tokens": 4,
    }
    assert {name: tokens.metadata.get(name) for name in wanted} == wanted
    assert (tokens.parameters["soft_prompt"], tokens.parameters["soft_prompt_hash"]) == (expected.a, hash_)
    assert tokens.metadata["lc_versions"]["langchain-softprompt"]


def test_default_system_message_is_dropped_for_a_soft_prompt_made_without_it() -> None:
    record = BaseModelRecord(id="fake", fingerprint="0" * 64)
    dropping = tiny_soft_prompt(1, manifest=Manifest(base_model=record, method="test", drop_default_system=True))
    engine = FakeEngine(tokenizer=tiny_tokenizer(chat_template=DEFAULTING))
    llm = ChatSoftPrompt(model="fake", engine=engine)
    for choice, messages in ((None, QUESTION), (dropping, QUESTION), (dropping, [("system", "Mine."), ("human", QUESTION)])):
        llm.invoke(messages, soft_prompt=choice)
    prompts = [request.prompt for request in engine.requests]
    assert ["Be nice." in prompt for prompt in prompts] == [True, False, False]
    assert prompts[2].startswith("<|im_start|>system\nMine.")


# Giving up.


def _wait_until_busy(engine: Any) -> None:
    deadline = time.monotonic() + 60
    while not engine.load.running:
        assert time.monotonic() < deadline, "the request never got a row"
        time.sleep(0.005)


def _wait_until_idle(engine: Any) -> None:
    deadline = time.monotonic() + 60
    while engine.load.running or engine.load.waiting:
        assert time.monotonic() < deadline, "the request still holds its row"
        time.sleep(0.01)


def test_leaving_a_stream_early_frees_the_row(llm: ChatSoftPrompt) -> None:
    stream = llm.stream(QUESTION, max_tokens=LONG)
    next(stream)
    assert llm.engine.load.running == 1  # type: ignore[union-attr]
    stream.close()  # type: ignore[attr-defined]
    _wait_until_idle(llm.engine)


def test_breaking_out_of_a_stream_frees_the_row(llm: ChatSoftPrompt) -> None:
    for _ in llm.stream(QUESTION, max_tokens=LONG):
        break
    gc.collect()
    _wait_until_idle(llm.engine)


async def test_leaving_an_async_stream_early_frees_the_row(llm: ChatSoftPrompt) -> None:
    async for _ in llm.astream(QUESTION, max_tokens=LONG):
        break
    gc.collect()
    await asyncio.sleep(0.05)  # the loop closes generators that were dropped
    await asyncio.to_thread(_wait_until_idle, llm.engine)


@pytest.mark.parametrize("stop", [None, ["never said"]])
async def test_cancelling_the_task_frees_the_row(llm: ChatSoftPrompt, stop: list[str] | None) -> None:
    task = asyncio.create_task(llm.ainvoke(QUESTION, max_tokens=LONG, stop=stop))
    await asyncio.to_thread(_wait_until_busy, llm.engine)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(_wait_until_idle, llm.engine)


@pytest.mark.parametrize("stop", [None, ["never said"]])
def test_answer_that_takes_too_long_is_cancelled_and_raises(llm: ChatSoftPrompt, stop: list[str] | None) -> None:
    with pytest.raises(RequestTimeoutError, match=r"0\.05 seconds"):
        llm.invoke(QUESTION, max_tokens=LONG, timeout=0.05, stop=stop)
    _wait_until_idle(llm.engine)


def test_timeout_of_the_field_holds_for_streams(llm: ChatSoftPrompt) -> None:
    with pytest.raises(TimeoutError):
        list(llm.model_copy(update={"timeout": 0.05}).stream(QUESTION, max_tokens=LONG))
    _wait_until_idle(llm.engine)


@pytest.mark.parametrize("stop", [None, ["never said"]])
async def test_timeout_holds_in_an_event_loop(llm: ChatSoftPrompt, stop: list[str] | None) -> None:
    with pytest.raises(RequestTimeoutError):
        await llm.ainvoke(QUESTION, max_tokens=LONG, timeout=0.05, stop=stop)
    with pytest.raises(RequestTimeoutError):
        async for _ in llm.astream(QUESTION, max_tokens=LONG, timeout=0.05, stop=stop):
            pass
    await asyncio.to_thread(_wait_until_idle, llm.engine)


def test_answer_in_time_leaves_no_alarm_behind(llm: ChatSoftPrompt, expected: Expected) -> None:
    import threading

    assert llm.invoke(QUESTION, timeout=600).text == expected.bare
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and not thread.finished.is_set()]


def test_engine_closed_under_a_request_raises_instead_of_answering_half() -> None:
    engine = Engine(tiny_model())
    stream = ChatSoftPrompt(model="tiny", engine=engine).stream(QUESTION, max_tokens=LONG)
    next(stream)
    engine.close()
    with pytest.raises(RequestCancelledError):
        list(stream)
