"""`logprobs` in OpenAI's shape: the model's own probabilities, the same whole from a stream, and no part of a call that does not ask."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessageChunk
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.messages import TokenBytes
from langchain_softprompt.sampling import token_logprobs
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.testing import FakeEngine, tiny_soft_prompt, tiny_tokenizer
from tests.unit_tests.chat.conftest import QUESTION
from tests.unit_tests.engine.scored import plain_logits


def _content(message: Any) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = message.response_metadata["logprobs"]["content"]
    return content


@pytest.mark.parametrize("how", [{}, {"temperature": 1.5, "seed": 3, "repetition_penalty": 1.4, "top_k": 20}])
@pytest.mark.parametrize("seed", [None, 1])
def test_they_are_what_transformers_gives_each_token_before_temperature_penalty_and_filters(
    seed: int | None, how: dict[str, Any], llm: ChatSoftPrompt, engine: Engine
) -> None:
    soft_prompt = None if seed is None else tiny_soft_prompt(seed)
    message = llm.invoke(QUESTION, soft_prompt=soft_prompt, top_logprobs=3, **how)
    tokenizer: Any = engine.model.tokenizer
    prompt = tokenizer.encode(f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)
    answer = tokenizer.encode(message.text, add_special_tokens=False)
    logits = plain_logits(engine.model, [*prompt, *answer], soft_prompt)[len(prompt) - 1 : -1].log_softmax(-1)
    content = _content(message)
    assert [entry["token"] for entry in content] == list(message.text)
    assert [entry["logprob"] for entry in content] == pytest.approx(logits[torch.arange(len(answer)), answer].tolist(), abs=1e-4)
    for entry, row in zip(content, logits, strict=True):
        best = row.topk(3)
        assert [one["logprob"] for one in entry["top_logprobs"]] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert [one["token"] for one in entry["top_logprobs"]] == [tokenizer.decode([token]) for token in best.indices]
    json.dumps(content)


def test_there_are_none_where_nobody_asks_and_no_alternatives_where_only_logprobs_are_asked_for(llm: ChatSoftPrompt) -> None:
    assert "logprobs" not in llm.invoke(QUESTION).response_metadata
    content = _content(llm.invoke(QUESTION, logprobs=True))
    assert all(entry["top_logprobs"] == [] for entry in content)
    assert set(content[0]) == {"token", "bytes", "logprob", "top_logprobs"}


@pytest.mark.parametrize(
    ("own", "call", "expected"),
    [
        ({}, {}, None),
        ({}, {"logprobs": True}, 0),
        ({}, {"top_logprobs": 2}, 2),
        ({"logprobs": True}, {}, 0),
        ({"logprobs": True}, {"top_logprobs": 2}, 2),
        ({"logprobs": False}, {"top_logprobs": 2}, 2),
        ({"top_logprobs": 2}, {}, 2),
        ({"top_logprobs": 2}, {"logprobs": True}, 2),
        ({"top_logprobs": 2}, {"logprobs": False}, None),
        ({"top_logprobs": 2}, {"top_logprobs": 0}, 0),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": None, "top_logprobs": None}, 2),
    ],
)
def test_a_call_says_more_than_the_model_says(own: dict[str, Any], call: dict[str, Any], expected: int | None) -> None:
    engine = FakeEngine()
    llm = ChatSoftPrompt(model="fake", engine=engine, **own)
    for message in (llm.invoke(QUESTION, **call), llm.bind(**call).invoke(QUESTION) if call else llm.invoke(QUESTION)):
        assert ("logprobs" in message.response_metadata) == (expected is not None)
    assert {request.settings.top_logprobs for request in engine.requests} == {expected}


@pytest.mark.parametrize(
    "arguments", [{"logprobs": 3}, {"logprobs": False, "top_logprobs": 2}, {"top_logprobs": -1}, {"top_logprobs": 1.5}]
)
def test_what_makes_no_sense_is_refused_at_construction_and_per_call(arguments: dict[str, Any]) -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine())
    with pytest.raises(InvalidSettingsError, match="logprobs"):
        llm.invoke(QUESTION, **arguments)
    with pytest.raises((InvalidSettingsError, ValueError), match="logprobs"):
        ChatSoftPrompt(model="fake", engine=FakeEngine(), **arguments)


async def test_the_chunks_of_a_stream_add_up_to_the_whole_and_each_tells_of_its_own_text(llm: ChatSoftPrompt) -> None:
    whole = llm.invoke(QUESTION, top_logprobs=2)
    chunks = list(llm.stream(QUESTION, top_logprobs=2))
    achunks = [chunk async for chunk in llm.astream(QUESTION, top_logprobs=2)]
    for streamed in (chunks, achunks):
        added = sum(streamed[1:], streamed[0])
        assert isinstance(added, AIMessageChunk)
        assert added.text == whole.text
        assert [entry["token"] for entry in _content(added)] == list(whole.text)
        assert [entry["logprob"] for entry in _content(added)] == pytest.approx([entry["logprob"] for entry in _content(whole)], abs=1e-4)
        assert added.response_metadata.keys() == whole.response_metadata.keys()
        for chunk in streamed:
            if chunk.text:
                assert b"".join(bytes(entry["bytes"]) for entry in _content(chunk)) == chunk.text.encode()
    assert _content(await llm.ainvoke(QUESTION, top_logprobs=2))[0]["token"] == whole.text[0]


def test_a_character_of_several_tokens_comes_with_all_of_them_and_a_stop_string_is_counted_as_usage_counts_it() -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(["né STOP more"]), stop=["STOP"], logprobs=True)
    chunks = list(llm.stream(QUESTION))
    (accented,) = [chunk for chunk in chunks if "é" in chunk.text]
    assert [entry["bytes"] for entry in _content(accented)] == [[0xC3], [0xA9]]
    assert [entry["token"] for entry in _content(accented)] == ["\\xc3", "\\xa9"]
    added = sum(chunks[1:], chunks[0])
    message = llm.invoke(QUESTION)
    assert added.text == message.text == "né "
    assert _content(added) == _content(message)
    assert message.usage_metadata is not None
    assert len(_content(message)) == message.usage_metadata["output_tokens"]
    assert b"".join(bytes(entry["bytes"]) for entry in _content(message)).decode() == "né STOP"


def test_they_are_part_of_the_llm_caches_key_under_either_name() -> None:
    engine = FakeEngine()
    llm = ChatSoftPrompt(model="fake", engine=engine, cache=InMemoryCache())
    for asked in ({}, {"logprobs": True}, {"top_logprobs": 2}, {"top_logprobs": 3}):
        for _ in range(2):
            assert ("logprobs" in llm.invoke(QUESTION, **asked).response_metadata) == bool(asked)
    assert len(engine.requests) == 4
    llm.invoke(QUESTION, top_logprobs=0)
    llm.invoke(QUESTION, logprobs=True, top_logprobs=2)
    llm.model_copy(update={"top_logprobs": 2}).invoke(QUESTION)
    assert len(engine.requests) == 4


def test_of_rows_that_run_together_only_those_that_ask_are_looked_at(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_softprompt.engine import worker

    looked: list[int] = []

    def counting(logits: torch.Tensor, picked: Any, counts: Any) -> Any:
        looked.append(len(logits))
        return token_logprobs(logits, picked, counts)

    monkeypatch.setattr(worker, "token_logprobs", counting)
    plain = GenerationSettings(max_new_tokens=9)
    running = [engine.submit([70, 71, number], settings=plain) for number in range(5)]
    asking = engine.submit([70, 72], settings=plain.override(top_logprobs=2))
    results = [generation.result() for generation in running]
    assert [result.logprobs for result in results] == [()] * 5
    answer = asking.result()
    assert [len(logprob.top) for logprob in answer.logprobs] == [2] * 9
    assert looked == [1] * 9
    logits = plain_logits(engine.model, [70, 72, *answer.token_ids], None)[1:-1].log_softmax(-1)
    expected = logits[torch.arange(9), list(answer.token_ids)].tolist()
    assert [logprob.logprob for logprob in answer.logprobs] == pytest.approx(expected, abs=1e-4)


def test_rows_that_ask_for_different_numbers_each_get_theirs(engine: Engine) -> None:
    counts = (0, 3, 10**6, None, 1)
    running = [engine.submit([70, 71], settings=GenerationSettings(max_new_tokens=4, top_logprobs=count)) for count in counts]
    size = engine.model.vocab_size
    found = [[len(logprob.top) for logprob in generation.result().logprobs] for generation in running]
    assert found == [[0] * 4, [3] * 4, [size] * 4, [], [1] * 4]


def test_want_of_memory_for_them_fails_the_row_that_asks_alone(llm: ChatSoftPrompt, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_softprompt.engine import worker
    from langchain_softprompt.errors import RequestFailedError

    def broken(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(worker, "token_logprobs", broken)
    plain = llm.invoke(QUESTION)
    results = llm.batch([QUESTION, QUESTION], return_exceptions=True, top_logprobs=1)
    assert all(isinstance(result, RequestFailedError) for result in results)
    assert llm.invoke(QUESTION).text == plain.text


@given(st.text())
def test_bytes_of_a_byte_level_vocabulary_are_those_of_the_text(text: str) -> None:
    tokenizer = tiny_tokenizer()
    bytes_of = TokenBytes(tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert b"".join(map(bytes_of, ids)) == text.encode("utf-8", "replace")


def test_special_tokens_are_called_by_name_and_tokens_that_are_not_there_have_no_bytes() -> None:
    tokenizer = tiny_tokenizer()
    bytes_of = TokenBytes(tokenizer)
    assert bytes_of(tokenizer.eos_token_id) == b"<|im_end|>"


def test_a_sentencepiece_vocabulary_has_spaces_and_bytes() -> None:
    vocab = {"<unk>": 0, "<0xC3>": 1, "<0xA9>": 2, "▁a": 3, "b": 4, "é": 5}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_of = TokenBytes(PreTrainedTokenizerFast(tokenizer_object=inner))
    assert [bytes_of(token) for token in (3, 4, 1, 2, 5)] == [b" a", b"b", b"\xc3", b"\xa9", "é".encode()]


def test_a_token_that_can_not_come_is_told_as_openai_tells_it() -> None:
    (found,) = token_logprobs(torch.tensor([[0.0, -math.inf]]), [1], [2])
    assert found.logprob == -math.inf
    from langchain_softprompt.messages import logprob_entry

    entry = logprob_entry(TokenBytes(tiny_tokenizer()), 1, found)
    assert (entry["logprob"], entry["top_logprobs"][1]["logprob"]) == (-9999.0, -9999.0)
