"""Whatever a server does, a request ends with the right answer or with an error that says what was wrong and what to do."""

from __future__ import annotations

import json
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelInvalidRequestError,
    ModelRateLimitError,
)

from langchain_softprompt import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import (
    ContextLengthError,
    EngineBusyError,
    InvalidSettingsError,
    RequestFailedError,
    ServerAccessError,
    ServerMismatchError,
    ServerRefusedError,
    ServerUnreachableError,
)
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from tests.unit_tests.remote.conftest import MakeEngine
from tests.unit_tests.remote.shared import IDS, SHORT, row_prompt
from tests.vllm import LoopbackVLLM


def _right(here: Engine) -> tuple[int, ...]:
    return here.submit(IDS, settings=SHORT).result().token_ids


# Before the first token.


@pytest.mark.parametrize("path", ["/v1/models", "/v1/soft_prompts", "/v1/completions"])
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500, "body": {"error": {"message": "CUDA out of memory", "type": "InternalServerError", "param": None, "code": 500}}},
        {"status": 503, "body": b""},
        {"status": 502, "body": b"<html>Bad gateway</html>"},
        {"status": 429, "body": {"detail": "slow down"}, "headers": {"Retry-After": "0"}},
        {"cut": True},
    ],
    ids=["500", "503", "502", "429", "hangs up"],
)
def test_what_fails_before_the_first_token_is_tried_again(
    vllm: LoopbackVLLM, here: Engine, make: MakeEngine, path: str, fault: dict[str, Any]
) -> None:
    vllm.add(path, times=2, **fault)
    assert make(vllm).submit(IDS, settings=SHORT).result().token_ids == _right(here)


@pytest.mark.parametrize(
    ("fault", "error", "family", "words"),
    [
        ({"status": 500, "body": {"error": {"message": "CUDA out of memory"}}}, RequestFailedError, ModelAPIError, "out of memory"),
        ({"status": 503, "body": b""}, EngineBusyError, ModelRateLimitError, "busy"),
        ({"status": 429, "body": b"", "headers": {"Retry-After": "0"}}, EngineBusyError, ModelRateLimitError, "Try again later"),
        ({"cut": True}, ServerUnreachableError, ModelConnectionError, "can't be reached"),
        (
            {"status": 307, "body": b"", "headers": {"Location": "http://evil.example/"}},
            ServerRefusedError,
            ModelInvalidRequestError,
            "redirects",
        ),
        ({"status": 422, "body": {"error": {"message": "no", "type": "x"}}}, ServerRefusedError, ModelInvalidRequestError, "422"),
        ({"status": 404, "body": {"detail": "Not Found"}}, ServerRefusedError, ModelInvalidRequestError, "404"),
        ({"status": 401, "body": {"error": "Unauthorized"}}, ServerAccessError, ModelAuthenticationError, "api_key"),
        ({"status": 403, "body": b""}, ServerAccessError, ModelAuthenticationError, "VLLM_API_KEY"),
    ],
)
def test_what_goes_on_failing_is_an_error_of_the_right_kind(
    vllm: LoopbackVLLM, make: MakeEngine, fault: dict[str, Any], error: type[Exception], family: type[Exception], words: str
) -> None:
    engine = make(vllm, retries=1)
    vllm.add("/v1/completions", **fault)
    with pytest.raises(error, match=words) as raised:
        engine.submit(IDS, settings=SHORT).result()
    assert vllm.url in str(raised.value)
    with pytest.raises(family):
        ChatSoftPrompt(model=str(engine.model.folder), engine=engine, max_tokens=4).invoke("Hello")


def test_refusals_are_not_tried_again(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.add("/v1/completions", status=401, body={"error": "Unauthorized"})
    with pytest.raises(ServerAccessError):
        make(vllm, retries=5).submit(IDS, settings=SHORT).result()
    assert len(vllm.asked()) == 1


def test_a_server_that_is_not_there_is_unreachable(make: MakeEngine) -> None:
    with pytest.raises(ServerUnreachableError, match="Check that it runs"):
        make("http://127.0.0.1:9", retries=1).submit(IDS, settings=SHORT).result()
    assert issubclass(ServerUnreachableError, ConnectionError)


def test_a_server_that_says_nothing_is_given_up_after_the_read_timeout(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.add("/v1/completions", hang=True)
    with pytest.raises(ServerUnreachableError, match=r"sent nothing for 0[.]2 seconds"):
        make(vllm, retries=0, read_timeout=0.2).submit(IDS, settings=SHORT).result()


def test_a_server_that_stops_in_the_middle_is_given_up_after_the_read_timeout(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.add("/v1/completions", after=3, hang=True)
    generation = make(vllm, read_timeout=0.2).submit(IDS, settings=SHORT)
    with pytest.raises(RequestFailedError, match=r"broke off after 3 tokens.*sent nothing"):
        generation.result()
    assert len(generation.tokens) == 3


def test_a_server_that_asks_to_be_left_alone_for_long_is_believed(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.add("/v1/completions", status=503, body=b"", headers={"Retry-After": formatdate(time.time() + 3600, usegmt=True)})
    with pytest.raises(EngineBusyError):
        make(vllm, retries=5).submit(IDS, settings=SHORT).result()
    assert len(vllm.asked()) == 1


# After the first token.


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"cut": True}, "can't be reached"),
        ({}, "without saying how the answer ends"),
        ({"event": {"error": {"message": "engine died", "type": "InternalServerError", "code": 500}}}, "engine died"),
        ({"event": "{"}, "expected JSON"),
    ],
    ids=["hangs up", "ends", "error", "malformed"],
)
def test_after_the_first_token_nothing_is_tried_again_and_what_was_said_stays(
    vllm: LoopbackVLLM, other: LoopbackVLLM, here: Engine, make: MakeEngine, fault: dict[str, Any], words: str
) -> None:
    for server in (vllm, other):
        server.add("/v1/completions", after=3, **fault)
    generation = make(vllm, other).submit(IDS, settings=SHORT)
    got: list[int] = []
    with pytest.raises(RequestFailedError, match=rf"broke off after 3 tokens.*{words}"):
        got.extend(generation)
    assert len(generation.tokens) == 3
    assert generation.tokens == _right(here)[:3]
    assert len(vllm.asked()) + len(other.asked()) == 1


def test_a_restart_in_the_middle_fails_the_stream_and_the_next_request_is_answered(
    vllm: LoopbackVLLM, here: Engine, make: MakeEngine
) -> None:
    engine = make(vllm)
    vllm.pace = 0.02
    stream = iter(engine.submit(IDS, settings=GenerationSettings(max_new_tokens=200)))
    next(stream)
    vllm.down()
    with pytest.raises(RequestFailedError, match="broke off"):
        list(stream)
    vllm.pace = 0.0
    vllm.up()
    assert engine.submit(IDS, settings=SHORT).result().token_ids == _right(here)
    assert [path for path, _ in vllm.requests].count("/v1/models") >= 2, "whoever answers at that address now is asked who it is"


# What can't be read.

_CHUNK: dict[str, Any] = {"index": 0, "text": "x", "logprobs": None, "finish_reason": None, "stop_reason": None, "token_ids": [5]}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("not json", "expected JSON"),
        ("[1, 2]", "a JSON object"),
        ('{"choices": NaN}', "NaN"),
        ("[" * 100_000, "expected JSON"),
        ({"choices": 3}, "choices: expected a list"),
        ({"choices": [_CHUNK, _CHUNK]}, "one choice"),
        ({"choices": [{**_CHUNK, "index": 1}]}, "index 0"),
        ({"choices": [{**_CHUNK, "token_ids": None}]}, "vLLM 0.32 or newer"),
        ({"choices": [{**_CHUNK, "token_ids": ["5"]}]}, "token_ids: expected integers"),
        ({"choices": [{**_CHUNK, "token_ids": [True]}]}, "token_ids: expected integers"),
        ({"choices": [{**_CHUNK, "token_ids": [-1]}]}, "token_ids: expected integers"),
        ({"choices": [{**_CHUNK, "token_ids": [10**9]}]}, "token_ids: expected integers"),
        ({"choices": [{**_CHUNK, "token_ids": [5] * 100}]}, "at most 8 tokens"),
        ({"choices": [{**_CHUNK, "finish_reason": "abort"}]}, "finish_reason"),
        ({"choices": [{**_CHUNK, "token_ids": [], "finish_reason": "stop"}]}, "stop at a token"),
        ({"choices": [{**_CHUNK, "finish_reason": "stop", "stop_reason": 7}]}, "stop at a token"),
        ({"choices": [], "usage": 3}, "usage"),
        ({"choices": [], "usage": {"prompt_tokens_details": {"cached_tokens": 10**6}}}, "usage"),
        ({"error": "no more"}, "no more"),
        ({"error": {"message": ["x"], "code": "y"}}, "failed while serving"),
    ],
)
def test_what_can_not_be_read_is_an_error_that_says_what_came(vllm: LoopbackVLLM, make: MakeEngine, event: Any, words: str) -> None:
    vllm.add("/v1/completions", after=2, event=event, times=1)
    with pytest.raises(RequestFailedError, match=words):
        make(vllm, retries=0).submit(IDS, settings=SHORT).result()


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"tokens": ["token_id:5"], "token_logprobs": [-1.0], "top_logprobs": []},
        {"tokens": ["token_id:6"], "token_logprobs": [-1.0], "top_logprobs": [{}]},
        {"tokens": ["five"], "token_logprobs": [-1.0], "top_logprobs": [{}]},
        {"tokens": ["token_id:5"], "token_logprobs": [None], "top_logprobs": [{}]},
        {"tokens": ["token_id:5"], "token_logprobs": [0.5], "top_logprobs": [{}]},
        {"tokens": ["token_id:5"], "token_logprobs": [-1.0], "top_logprobs": [None]},
        {"content": [3]},
        {"content": [{"token": "token_id:5", "top_logprobs": []}]},
    ],
)
def test_log_probabilities_that_can_not_be_read_are_an_error(vllm: LoopbackVLLM, make: MakeEngine, logprobs: Any) -> None:
    vllm.add("/v1/completions", after=2, event={"choices": [{**_CHUNK, "logprobs": logprobs}]}, times=1)
    with pytest.raises(RequestFailedError, match="logprobs"):
        make(vllm, retries=0).submit(IDS, settings=SHORT.override(top_logprobs=1)).result()


@pytest.mark.parametrize(
    "body", [b"<html>Welcome</html>\n", b"\xff\xfe\n", b"data: {", b""], ids=["a page", "bytes", "half an event", "nothing"]
)
def test_an_answer_that_is_no_stream_of_events_is_an_error(vllm: LoopbackVLLM, make: MakeEngine, body: bytes) -> None:
    vllm.add("/v1/completions", status=200, body=body, headers={"Content-Type": "text/html"})
    with pytest.raises(RequestFailedError, match=r"can't be read|ended the stream"):
        make(vllm, retries=0).submit(IDS, settings=SHORT).result()


def test_an_answer_without_end_is_cut(vllm: LoopbackVLLM, make: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_softprompt.remote.events._LONGEST_EVENT", 1000)
    vllm.add("/v1/completions", status=200, body=b"data: " + b"x" * 100_000)
    with pytest.raises(RequestFailedError, match="of the length that was asked for"):
        make(vllm, retries=0).submit(IDS, settings=SHORT).result()


@pytest.mark.parametrize("path", ["/v1/models", "/v1/soft_prompts"])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"data": 3}', b'{"data": [{"id": 3}], "plugin": 1}', b'{"plugin": "1", "model": {"dtype": 3}}', b"\xff"]
)
def test_a_server_that_says_who_it_is_in_no_known_form_is_an_error(vllm: LoopbackVLLM, make: MakeEngine, path: str, body: bytes) -> None:
    vllm.add(path, status=200, body=body)
    with pytest.raises((RequestFailedError, ServerMismatchError)):
        make(vllm, retries=0).submit(IDS, settings=SHORT).result()


# What is wrong with the request.


def test_a_request_that_the_server_has_no_room_for_is_too_long(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.max_model_len = 40
    engine = make(vllm)
    with pytest.raises(ContextLengthError, match="holds 40"):
        engine.submit(IDS, settings=GenerationSettings(max_new_tokens=100)).result()
    assert engine.model.max_positions == 40
    with pytest.raises(ContextLengthError):  # and the next one is refused at once
        engine.submit(IDS, settings=GenerationSettings(max_new_tokens=100))


@pytest.mark.parametrize("within", [False, True])
def test_a_server_that_turns_out_to_have_no_room_says_so(vllm: LoopbackVLLM, make: MakeEngine, within: bool) -> None:
    told = {"error": {"message": "This model's maximum context length is 30 tokens.", "type": "BadRequestError", "code": 400}}
    body = f"data: {json.dumps(told)}\n\ndata: [DONE]\n\n".encode() if within else told
    vllm.add("/v1/completions", status=200 if within else 400, body=body)
    engine = make(vllm)
    with pytest.raises(ContextLengthError, match="maximum context length is 30"):
        engine.submit(IDS, settings=SHORT).result()
    with pytest.raises(ContextOverflowError):
        ChatSoftPrompt(model=str(engine.model.folder), engine=engine, max_tokens=4).invoke("Hello")


def test_what_vllm_refuses_after_it_has_answered_200_is_a_refusal_too(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    with pytest.raises(ServerRefusedError, match="greater than max allowed: 20"):
        make(vllm).submit(IDS, settings=SHORT.override(top_logprobs=30)).result()


def test_a_server_that_reads_another_prompt_than_was_sent_is_found_out(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    """Another tokenizer there, or a chat template that is not ours, would else go unnoticed."""
    vllm.reads_as_sent = False
    for soft_prompt in (None, row_prompt()):
        generation = make(vllm).submit(IDS, soft_prompt=soft_prompt, settings=SHORT)
        with pytest.raises(ServerMismatchError, match="has read another prompt than was sent"):
            generation.result()
        assert not generation.tokens


# Secrets.


def test_the_api_key_is_in_no_error_repr_or_log(vllm: LoopbackVLLM, make: MakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secret, other = "sk-very-secret", "other-secret-value"
    engine = make(vllm, api_key=secret, headers={"X-Team": other}, retries=0)
    vllm.add("/v1/completions", status=500, body={"error": {"message": f"bad key {secret} of {other}"}})
    with pytest.raises(RequestFailedError) as raised:
        engine.submit(IDS, settings=SHORT).result()
    llm = ChatSoftPrompt(model=str(engine.model.folder), engine=engine)
    error: BaseException | None = raised.value
    while error is not None:
        for text in (repr(error), str(error.__dict__), *getattr(error, "__notes__", ())):
            assert secret not in text
            assert other not in text
        error = error.__cause__ or error.__context__
    told = [repr(engine), repr(llm), str(llm), json.dumps(llm._get_ls_params(), default=repr), repr(llm._identifying_params), caplog.text]
    assert not any(word in text for text in told for word in (secret, other))
    assert vllm.keys == [f"Bearer {secret}"] * len(vllm.keys)


def test_a_redirect_takes_the_api_key_nowhere(vllm: LoopbackVLLM, other: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.add("*", status=308, body=b"", headers={"Location": f"{other.url}/v1/models"})
    with pytest.raises(ServerRefusedError, match="redirects are not followed"):
        make(vllm, api_key="sk-secret").submit(IDS, settings=SHORT).result()
    assert not other.requests


def test_the_api_key_may_come_from_the_environment(vllm: LoopbackVLLM, make: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm.api_key = "from-outside"
    engine = make(vllm)
    with pytest.raises(ServerAccessError):
        engine.submit(IDS, settings=SHORT).result()
    monkeypatch.setenv("VLLM_API_KEY", "from\noutside")
    with pytest.raises(InvalidSettingsError, match="VLLM_API_KEY") as raised:
        engine.submit(IDS, settings=SHORT).result()
    assert "outside" not in str(raised.value)
    monkeypatch.setenv("VLLM_API_KEY", "from-outside\n")
    assert engine.submit(IDS, settings=SHORT).result().token_ids


# Room here.


def test_more_requests_than_the_limits_allow_wait_and_one_beyond_the_queue_is_refused(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    engine = make(vllm, limits=EngineLimits(max_rows=2, max_queue=1))
    fault = vllm.add("/v1/completions", hang=True)
    running = [engine.submit(IDS, settings=SHORT) for _ in range(3)]
    assert fault.reached.wait(5)
    with pytest.raises(EngineBusyError, match="max_queue"):
        engine.submit(IDS, settings=SHORT)
    deadline = time.monotonic() + 5
    while len(vllm.asked()) < 2 and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert len(vllm.asked()) == 2
    vllm.heal()
    assert len({one.result().token_ids for one in running}) == 1
