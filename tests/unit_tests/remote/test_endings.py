"""How an answer may end, and how long it may take to."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.remote.answers import Answer
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.sampling import Choices
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.remote.conftest import MakeEngine
from tests.unit_tests.remote.shared import IDS
from tests.vllm import LoopbackVLLM

_END = 2
_ASKED = Asked((8, 9), GenerationSettings(max_new_tokens=4), (_END, 3))


def _event(*tokens: int, reason: str | None = None, stop_reason: int | None = None) -> dict[str, Any]:
    choice = {"index": 0, "text": "", "token_ids": list(tokens), "finish_reason": reason, "stop_reason": stop_reason}
    return {"choices": [{**choice, "prompt_token_ids": [8, 9]}]}


def _read(*events: dict[str, Any], asked: Asked = _ASKED, room: int | None = 100) -> Answer:
    answer = Answer(asked, 1000, room)
    for event in events:
        answer.take(event)
    answer.finish()
    return answer


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([_event(5), _event(7, reason="stop")], r"stop at one of the tokens \[2, 3\], found stop at 7"),
        ([_event(7, reason="stop", stop_reason=7)], "stop at one of the tokens"),
        ([_event(7, reason="length")], "length after 4 tokens, found length after 1"),
        ([_event(5), _event(reason="length")], "length after 4 tokens, found length after 1"),
        ([_event(_END, 5, 5, 5, reason="length")], "no more tokens after the end"),
        ([_event(5, _END), _event(), _event(5, 5, reason="length")], "no more tokens after the end"),
        ([_event(_END, _END, reason="stop")], "no more tokens after the end"),
    ],
)
def test_an_end_that_was_not_asked_for_is_an_error_that_says_what_came(events: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(RequestFailedError, match=words):
        _read(*events)


def test_an_answer_ends_at_an_end_token_at_its_length_or_where_the_context_is_full() -> None:
    stopped = _read(_event(5), _event(3, reason="stop", stop_reason=3))
    assert (stopped.count, stopped.ending) == (1, (3, None))
    assert _read(_event(5, 5, 5), _event(5, reason="length")).count == 4
    assert _read(_event(5, 5, 5), _event(_END, reason="length")).count == 4
    assert _read(_event(5), _event(6, reason="length"), room=4).count == 2
    with pytest.raises(RequestFailedError, match="length after 4 tokens"):
        _read(_event(5), _event(6, reason="length"), room=None)


def test_a_token_that_ends_answers_is_one_like_any_other_where_nothing_was_asked_to_end_them() -> None:
    asked = Asked((8, 9), GenerationSettings(max_new_tokens=4))
    assert _read(_event(_END, 5), _event(_END, 5, reason="length"), asked=asked).count == 4


def test_an_answer_held_to_a_grammar_may_end_without_a_token_only_where_the_grammar_does(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    engine, settings = make(vllm, retries=0), GenerationSettings(max_new_tokens=5)
    choice = {"index": 0, "text": "", "token_ids": [7], "finish_reason": "stop", "prompt_token_ids": list(IDS)}
    body = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n".encode()
    vllm.add("/v1/completions", status=200, body=body)
    result = engine.submit(IDS, settings=settings, constraint=Choices(((7,),))).result()
    assert (result.token_ids, result.finish_reason) == ((7,), "stop")
    with pytest.raises(RequestFailedError, match=r"stops after 1 tokens.*the grammar goes on"):
        engine.submit(IDS, settings=settings, constraint=Choices(((7, 8),))).result()


def test_bytes_without_tokens_keep_no_request_alive(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    """`read_timeout` is from token to token, whatever a server, or what stands before it, sends in between."""
    vllm.pace = 0.05
    vllm.add("/v1/completions", after=2, event={"choices": []})
    began = time.monotonic()
    generation = make(vllm, read_timeout=0.5).submit(IDS, settings=GenerationSettings(max_new_tokens=200))
    with pytest.raises(RequestFailedError, match=r"broke off after 2 tokens.*sent nothing for 0[.]5 seconds"):
        generation.result()
    assert time.monotonic() - began < 4


def test_a_long_answer_may_take_longer_than_the_read_timeout(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.pace = 0.05
    settings = GenerationSettings(max_new_tokens=20)
    assert make(vllm, read_timeout=0.5).submit(IDS, settings=settings).result().finish_reason == "length"
