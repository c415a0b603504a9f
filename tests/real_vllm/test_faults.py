"""Nothing answers with the wrong soft prompt: what is refused, and what happens when a server is wrong, absent or killed."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from langchain_softprompt import ChatSoftPrompt
from langchain_softprompt.demo import shipped
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import RequestFailedError, ServerError, ServerMismatchError, ServerUnreachableError
from langchain_softprompt.remote import VLLMEngine
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.vllm_plugin.names import COMPLETIONS_ROUTE
from langchain_softprompt.vllm_plugin.wearing import transfer_params
from tests.real_vllm.servers import RunningServer, running
from tests.real_vllm.small_model import save_small_model

SoftPrompts = dict[str, SoftPrompt | None]
TEXT = list(range(100, 140))
NAME = "embedded:smollm2-135m-instruct"


def _ask(server: RunningServer, route: str, **body: Any) -> httpx.Response:
    given = {"model": NAME, "max_tokens": 4, "temperature": 0, **body}
    return httpx.post(f"{server.url}{route}", json=given, timeout=120)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"prompt": TEXT}, 400),
        ({"prompt": TEXT, "soft_prompt": {"content_hash": "ab" * 32}}, 404),
        ({"prompt": TEXT, "soft_prompt": {"virtual_tokens": 3}}, 400),
        ({"prompt": TEXT, "soft_prompt": {"base_fingerprint": "00"}}, 409),
        ({"prompt": "text", "soft_prompt": {}}, 400),
        ({"prompt": [TEXT, TEXT], "soft_prompt": {}}, 400),
        ({"prompt": [], "soft_prompt": {}}, 400),
        ({"prompt": [10**9], "soft_prompt": {}}, 400),
        ({"prompt": [5] * 500, "soft_prompt": {}}, 400),
        ({"prompt": TEXT, "soft_prompt": {}, "prompt_logprobs": 1}, 400),
        ({"prompt": TEXT, "soft_prompt": {}, "prompt_logprobs": 0}, 400),
        ({"prompt": TEXT, "soft_prompt": {}, "use_beam_search": True, "n": 2}, 400),
        ({"prompt": TEXT, "soft_prompt": {"model_fingerprint": "00"}}, 409),
        ({"prompt": TEXT, "soft_prompt": {}, "echo": True}, 400),
        ({"prompt": TEXT, "soft_prompt": {}, "cache_salt": "mine"}, 400),
        ({"prompt": TEXT, "soft_prompt": {}, "kv_transfer_params": {"soft_prompt": "x"}}, 400),
        ({"prompt": TEXT, "soft_prompt": {}, "model": "other"}, 404),
    ],
)
def test_the_route_refuses_what_it_can_not_answer_rightly(
    body: dict[str, Any], status: int, server: RunningServer, soft_prompts: SoftPrompts
) -> None:
    cartridge = soft_prompts["cartridge"]
    assert cartridge is not None
    worn = body.get("soft_prompt")
    if worn is not None:
        body = {**body, "soft_prompt": {"content_hash": cartridge.content_hash, **worn}}
    answer = _ask(server, COMPLETIONS_ROUTE, **body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_whoever_passes_by_the_route_gets_an_error_and_never_an_answer_without_the_soft_prompt(
    server: RunningServer, soft_prompts: SoftPrompts
) -> None:
    cartridge = soft_prompts["cartridge"]
    assert cartridge is not None
    name, length = cartridge.content_hash, cartridge.num_virtual_tokens
    padded = [1] * length + TEXT
    plain = _ask(server, "/v1/completions", prompt=padded)
    assert plain.status_code == 200
    for body in (
        {"prompt": TEXT, "kv_transfer_params": transfer_params("zz", 15), "cache_salt": "zz"},
        {"prompt": padded, "kv_transfer_params": transfer_params(name, length)},  # its blocks would be anybody's
        {"prompt": padded, "kv_transfer_params": transfer_params(name, length + 1), "cache_salt": name},
        {"prompt": [1] * length, "kv_transfer_params": transfer_params(name, length), "cache_salt": name},
        {"prompt": [5, 6], "kv_transfer_params": transfer_params("zz", 15)},
        {"prompt": list(range(200, 265)), "kv_transfer_params": transfer_params("zz", 15)},
        {"prompt": TEXT, "kv_transfer_params": {"soft_prompt": 5}, "cache_salt": name},
    ):
        for _ in range(2):
            assert _ask(server, "/v1/completions", **body).status_code == 500
    again = _ask(server, "/v1/completions", prompt=padded)  # a refused one harms no other
    assert again.json()["choices"][0]["text"] == plain.json()["choices"][0]["text"]


def test_nobody_can_put_blocks_of_plain_text_where_others_look_for_a_soft_prompt(
    server: RunningServer, there: ChatSoftPrompt, here: ChatSoftPrompt
) -> None:
    soft_prompt = SoftPrompt.of_key_values(SoftPrompt.load(shipped("clean")).key_values() * 1.01)  # type: ignore[operator]
    soft_prompt.save(server.folder / "soft_prompts" / "nobody-asked-for-it-yet")
    name, length = soft_prompt.content_hash, soft_prompt.num_virtual_tokens
    ids = there._tokenizer().apply_chat_template([{"role": "user", "content": "Hello"}], add_generation_prompt=True, return_dict=False)
    for prompt_logprobs in (None, 0):
        body = {"prompt": [ids[0]] * length + ids, "cache_salt": name, "prompt_logprobs": prompt_logprobs}
        assert _ask(server, "/v1/completions", **body).status_code == 200
        _ask(server, "/v1/completions", **body, kv_transfer_params=transfer_params(name, length))
    found, expected = (one.with_soft_prompt(soft_prompt).invoke("Hello") for one in (there, here))
    assert found.text == expected.text


def test_a_seeded_answer_to_a_long_text_harms_no_server_without_gpus(there: ChatSoftPrompt) -> None:
    texts = [" ".join(f"{number} and" for number in range(row, row + 100)) for row in range(12)]
    answers = there.model_copy(update={"temperature": 1.0, "seed": 7, "max_tokens": 4}).batch(texts)
    assert all(answer.usage_metadata["output_tokens"] > 0 for answer in answers if answer.usage_metadata)


def test_a_server_says_what_it_serves_with_the_fingerprint_that_a_loaded_model_has(
    server: RunningServer, engine: Engine, soft_prompts: SoftPrompts
) -> None:
    told = httpx.get(f"{server.url}/v1/soft_prompts").json()
    assert told["model"]["fingerprint"] == engine.model.fingerprint
    assert told["model"]["dtype"] == "float32"
    hashes = {one["content_hash"] for one in told["soft_prompts"]}
    assert {one.content_hash for one in soft_prompts.values() if one is not None} <= hashes


def test_a_soft_prompt_that_the_server_lacks_is_a_typed_error_that_says_so(there: ChatSoftPrompt, soft_prompts: SoftPrompts) -> None:
    cartridge = soft_prompts["cartridge"]
    assert cartridge is not None
    other = SoftPrompt.of_key_values(torch.zeros(4, 30, 2, 3, 64))
    with pytest.raises(ServerMismatchError, match="does not have the soft prompt"):
        there.with_soft_prompt(other).invoke("Hello")


def test_not_a_number_never_leaves_the_client(there: ChatSoftPrompt, soft_prompts: SoftPrompts) -> None:
    french = soft_prompts["prompt tuning"]
    assert french is not None
    rows = french.tensors["prompt_embeddings"].clone()
    rows[0, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        dataclasses.replace(french, tensors={"prompt_embeddings": rows})
    assert there.with_soft_prompt(french).invoke("Hello").text


def test_a_request_that_is_given_up_ends_on_the_server(remote: VLLMEngine, server: RunningServer) -> None:
    generation = remote.submit(TEXT, settings=GenerationSettings(max_new_tokens=400, temperature=1.5, seed=1))
    next(iter(generation))
    generation.cancel()
    until = time.monotonic() + 20
    while time.monotonic() < until and server.metric("vllm:num_requests_running"):
        time.sleep(0.2)
    assert server.metric("vllm:num_requests_running") == 0
    assert len(generation.tokens) < 400


def test_a_server_without_the_plug_in_and_with_other_weights_answers_nothing_that_it_should_not(
    soft_prompts: SoftPrompts, tmp_path: Path
) -> None:
    model = save_small_model(tmp_path / "model")
    cartridge = soft_prompts["cartridge"]
    assert cartridge is not None
    with running(tmp_path, str(model), [_fitting()], plugin=False) as server:
        for name in (None, str(model)):
            with VLLMEngine(server.url, served_model_name=name) as client:
                chat = ChatSoftPrompt(model="embedded", engine=client)
                with pytest.raises(ServerError):  # by its name, or for want of the plug-in
                    chat.with_soft_prompt(cartridge).invoke("Hello")
                with pytest.raises((ServerError, RequestFailedError)):  # rows of another width
                    chat.with_soft_prompt(soft_prompts["prompt tuning"]).invoke("Hello")


def _fitting() -> SoftPrompt:
    from tests.real_vllm.small_model import small_soft_prompts

    return small_soft_prompts()[0]


def test_a_server_that_is_killed_under_load_ends_each_request_with_a_typed_error(soft_prompts: SoftPrompts, tmp_path: Path) -> None:
    given = [one for one in soft_prompts.values() if one is not None]
    with running(tmp_path, "embedded", given) as server, VLLMEngine(server.url, retries=1) as client:
        client.for_model("embedded")
        settings = GenerationSettings(max_new_tokens=300, temperature=1.0, seed=3)
        ids = client.model.tokenizer("Count from one to a hundred, in words, one number a line.").input_ids
        under_way = [client.submit(ids, soft_prompt=one, settings=settings) for one in soft_prompts.values()]
        begun = [next(iter(one)) for one in under_way]
        server.kill()
        for one, first in zip(under_way, begun, strict=True):
            with pytest.raises(RequestFailedError):
                one.result(60)
            assert one.tokens[0] == first  # what was said stays said
        with pytest.raises(ServerUnreachableError):
            client.submit(ids, settings=settings).result(60)
