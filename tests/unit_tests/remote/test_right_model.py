"""Nothing is answered by another model than was asked for, or with another soft prompt."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from langchain_softprompt import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import (
    InvalidSettingsError,
    ModelMismatchError,
    NonFiniteSoftPromptError,
    RequestError,
    ServerMismatchError,
)
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import with_probes
from langchain_softprompt.soft_prompt import BaseModelRecord, Manifest, ProbeRecord, ProbesRecord, SoftPrompt
from langchain_softprompt.testing import save_tiny_model, tiny_soft_prompt
from tests.unit_tests.remote.conftest import MakeEngine
from tests.unit_tests.remote.shared import IDS, PREFIX, SHORT, row_prompt
from tests.vllm import LoopbackVLLM

CHATS = [[{"role": "user", "content": text}] for text in ("Hi", "Who are you?", "Why?")]


def _made_for(fingerprint: str) -> Manifest:
    return Manifest(base_model=BaseModelRecord(id="acme/tiny", fingerprint=fingerprint), method="test")


@pytest.fixture
def another(tmp_path: Path) -> FrozenModel:
    """A model with other weights."""
    return FrozenModel.load(save_tiny_model(tmp_path / "other", seed=5), dtype="float32")


# The model.


def test_a_server_with_other_weights_is_refused_with_both_fingerprints(another: FrozenModel, make: MakeEngine) -> None:
    with LoopbackVLLM(another) as wrong:
        engine = make(wrong)
        with pytest.raises(ServerMismatchError) as raised:
            engine.submit(IDS, settings=SHORT).result()
    assert str(another.fingerprint) in str(raised.value)
    assert str(engine.model.fingerprint) in str(raised.value)
    assert not wrong.asked()


def test_the_right_weights_may_go_by_any_name(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.name, vllm.root = "production-7", "/models/7"
    assert make(vllm).submit(IDS, settings=SHORT).result().token_ids


def test_a_server_that_does_not_know_its_weights_is_told_by_the_models_name(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.plugin = False
    assert make(vllm).submit(IDS, settings=SHORT).result().token_ids
    vllm.name, vllm.root = "Qwen3-0.6B", "Qwen/Qwen3-0.6B"
    with pytest.raises(ServerMismatchError, match=r"served_model_name='Qwen3-0\.6B'"):
        make(vllm).submit(IDS, settings=SHORT).result()
    assert make(vllm, served_model_name="Qwen3-0.6B").submit(IDS, settings=SHORT).result().token_ids


def test_a_name_that_the_server_does_not_serve_is_refused(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    with pytest.raises(ServerMismatchError, match="It serves tiny, not served_model_name='big'"):
        make(vllm, served_model_name="big").submit(IDS, settings=SHORT).result()


def test_a_server_that_has_become_another_after_a_failure_is_found_out(vllm: LoopbackVLLM, another: FrozenModel, make: MakeEngine) -> None:
    engine = make(vllm)
    engine.submit(IDS, settings=SHORT).result()
    vllm.fingerprint = another.fingerprint
    assert engine.submit(IDS, settings=SHORT).result().token_ids, "it is asked now and then, not each time"
    vllm.add("/v1/completions", status=503, body=b"", times=1)
    with pytest.raises(ServerMismatchError):
        engine.submit(IDS, settings=SHORT).result()


def test_a_server_is_asked_again_who_it_is_after_a_while(vllm: LoopbackVLLM, another: FrozenModel, make: MakeEngine) -> None:
    engine = make(vllm, check_every=1e-6)
    engine.submit(IDS, settings=SHORT).result()
    vllm.fingerprint = another.fingerprint
    with pytest.raises(ServerMismatchError):
        engine.submit(IDS, settings=SHORT).result()


def test_without_weight_files_here_the_server_says_which_weights_there_are(
    folder: Path, tmp_path: Path, vllm: LoopbackVLLM, make: MakeEngine
) -> None:
    light = tmp_path / "tiny"
    light.mkdir()
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (light / file.name).write_bytes(file.read_bytes())
    vllm.down()
    engine = make(vllm, bind=False).for_model(light)
    made_of_the_name = engine.model.fingerprint
    assert engine.model.known_fingerprint is None
    vllm.up()
    assert engine.model.fingerprint == vllm.fingerprint != made_of_the_name
    assert engine.submit(IDS, settings=SHORT).result().token_ids


def test_one_engine_serves_one_model(folder: Path, tmp_path: Path, vllm: LoopbackVLLM, make: MakeEngine) -> None:
    engine = make(vllm)
    assert engine.for_model(str(folder)) is engine
    with pytest.raises(InvalidSettingsError, match="one engine for each model"):
        ChatSoftPrompt(model=save_tiny_model(tmp_path / "second"), engine=engine).invoke("Hello")
    with pytest.raises(InvalidSettingsError, match="was not told"):
        _ = make(vllm, bind=False).model


# The soft prompt.


def test_a_soft_prompt_made_for_another_model_is_refused_unless_it_is_allowed(
    vllm: LoopbackVLLM, make: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make(vllm)
    for prompt in (replace(PREFIX, manifest=_made_for("ab" * 32)), row_prompt(manifest=_made_for("ab" * 32))):
        vllm.soft_prompts = {prompt.content_hash: prompt}
        with pytest.raises(ModelMismatchError) as raised:
            engine.submit(IDS, soft_prompt=prompt, settings=SHORT).result()
        assert (raised.value.expected, raised.value.found) == ("ab" * 32, vllm.fingerprint)
        caplog.clear()
        for _ in range(2):
            assert engine.submit(IDS, soft_prompt=prompt, settings=SHORT, allow_other_model=True).result().token_ids
        assert caplog.text.count("Its answers on this model are untested.") == 1
    assert len(vllm.asked()) == 4


def test_a_server_that_knows_better_what_it_serves_says_so(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    prompt = replace(PREFIX, manifest=_made_for(str(vllm.fingerprint)))
    vllm.soft_prompts = {prompt.content_hash: prompt}
    told = {"error": {"message": "It was made for another.", "type": "ModelMismatch", "param": None, "code": 409}}
    vllm.add("/v1/soft_prompts/completions", status=409, body=told)
    with pytest.raises(ModelMismatchError, match="allow_other_model=True"):
        make(vllm).submit(IDS, soft_prompt=prompt, settings=SHORT).result()


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [(501, "ConnectorAbsent", ServerMismatchError), (400, "NonFiniteSoftPrompt", NonFiniteSoftPromptError)],
)
def test_what_else_our_plug_in_refuses_keeps_its_words(
    vllm: LoopbackVLLM, make: MakeEngine, status: int, kind: str, error: type[Exception]
) -> None:
    told = {"error": {"message": "Start it another way.", "type": kind, "param": "soft_prompt", "code": status}}
    vllm.add("/v1/soft_prompts/completions", status=status, body=told)
    with pytest.raises(error, match="another way"):
        make(vllm).submit(IDS, soft_prompt=PREFIX, settings=SHORT).result()


def test_a_server_that_does_not_have_the_soft_prompt_is_told_by_name(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    with pytest.raises(ServerMismatchError, match="does not have the soft prompt my/prompt"):
        make(vllm).submit(IDS, soft_prompt=PREFIX.with_source("my/prompt"), settings=SHORT).result()


def test_a_server_without_our_plug_in_can_not_answer_for_keys_and_values(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.plugin = False
    with pytest.raises(ServerMismatchError, match=r"lacks the plug-in.*serve-command"):
        make(vllm).submit(IDS, soft_prompt=PREFIX, settings=SHORT).result()
    assert make(vllm).submit(IDS, soft_prompt=row_prompt(), settings=SHORT).result().token_ids, "rows need none"


def _recorded(prompt: SoftPrompt, model: FrozenModel) -> SoftPrompt:
    return with_probes(prompt, model, CHATS)


def test_probes_are_read_once_before_the_first_answer_and_pass_where_all_is_right(
    vllm: LoopbackVLLM, here: Engine, make: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make(vllm)
    for prompt in (_recorded(row_prompt(), here.model), _recorded(PREFIX, here.model)):
        vllm.soft_prompts = {prompt.content_hash: prompt}
        vllm.requests.clear()
        for _ in range(2):
            assert engine.submit(IDS, soft_prompt=prompt, settings=SHORT).result().token_ids == (
                here.submit(IDS, soft_prompt=prompt, settings=SHORT).result().token_ids
            )
        lengths = [body["max_tokens"] for body in vllm.asked()]
        assert lengths == [*[1] * (len(lengths) - 2), 8, 8]
        assert len(lengths) >= 5
    assert "drifted" not in caplog.text


def test_another_soft_prompt_under_the_same_name_is_found_out_by_its_probes(vllm: LoopbackVLLM, here: Engine, make: MakeEngine) -> None:
    """The server has files of the right name and wrong content, say."""
    prompt = _recorded(PREFIX, here.model)
    vllm.soft_prompts = {prompt.content_hash: tiny_soft_prompt(9)}
    generation = make(vllm).submit(IDS, soft_prompt=prompt, settings=SHORT)
    with pytest.raises(ServerMismatchError, match="does not do there what it did"):
        generation.result()
    assert not generation.tokens


def test_another_model_is_found_out_by_the_soft_prompts_probes(another: FrozenModel, here: Engine, make: MakeEngine) -> None:
    """Where the server does not know its weights, and goes by the right name."""
    prompt = _recorded(row_prompt(), here.model)
    with LoopbackVLLM(another) as wrong:
        wrong.plugin = False
        for ask in ("submit", "score"):
            engine = make(wrong, served_model_name="tiny")
            asked = (IDS,) if ask == "submit" else (IDS, [[1, 2]])
            with pytest.raises(ServerMismatchError, match="serves another model"):
                getattr(engine, ask)(*asked, soft_prompt=prompt).result()


def test_a_drifted_soft_prompt_answers_with_a_warning(
    vllm: LoopbackVLLM, here: Engine, make: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = _recorded(PREFIX, here.model)
    assert prompt.manifest is not None
    assert prompt.manifest.probes is not None
    probes = [
        ProbeRecord(**{**probe.model_dump(), "log_probs": [value - 0.02 * place for place, value in enumerate(probe.log_probs)]})
        for probe in prompt.manifest.probes.probes
    ]
    record = ProbesRecord(**{**prompt.manifest.probes.model_dump(), "probes": [probe.model_dump() for probe in probes]})
    drifted = replace(prompt, manifest=prompt.manifest.model_copy(update={"probes": record}))
    vllm.soft_prompts = {drifted.content_hash: drifted}
    with caplog.at_level(logging.WARNING):
        engine = make(vllm)
        for _ in range(2):
            assert engine.submit(IDS, soft_prompt=drifted, settings=SHORT).result().token_ids
    assert caplog.text.count("has drifted there") == 1


def test_probes_are_read_again_after_a_server_failed(vllm: LoopbackVLLM, here: Engine, make: MakeEngine) -> None:
    prompt = _recorded(PREFIX, here.model)
    vllm.soft_prompts = {prompt.content_hash: prompt}
    engine = make(vllm)
    engine.submit(IDS, soft_prompt=prompt, settings=SHORT).result()
    vllm.soft_prompts = {prompt.content_hash: tiny_soft_prompt(9)}
    vllm.add("*", status=503, body=b"", times=1)
    with pytest.raises(ServerMismatchError):
        engine.submit(IDS, soft_prompt=prompt, settings=SHORT).result()


# Rows.


def test_rows_that_overflow_in_the_servers_dtype_are_not_sent(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    vllm.dtype = "float16"
    with pytest.raises(NonFiniteSoftPromptError, match="becomes Inf in float16"):
        make(vllm).submit(IDS, soft_prompt=row_prompt(scale=1e6), settings=SHORT).result()
    assert not vllm.asked()


def test_rows_of_another_width_are_refused_before_they_are_sent(vllm: LoopbackVLLM, make: MakeEngine) -> None:
    wide = row_prompt(hidden=64)
    with pytest.raises(ModelMismatchError, match="hidden size is 64"):
        make(vllm).submit(IDS, soft_prompt=wide, settings=SHORT).result()
    assert not vllm.asked()


@pytest.mark.parametrize("text", ["I say <|im_start|>", "see <prompt_embeds>"])
def test_text_that_would_be_read_as_other_tokens_behind_rows_is_refused_with_the_way_out(
    folder: Path, vllm: LoopbackVLLM, make: MakeEngine, text: str
) -> None:
    vllm.soft_prompts = {PREFIX.content_hash: PREFIX}
    llm = ChatSoftPrompt(model=folder, engine=make(vllm), max_tokens=4)
    with pytest.raises(RequestError, match="langchain-softprompt export"):
        llm.with_soft_prompt(row_prompt()).invoke(text)
    assert not vllm.asked()
    assert llm.with_soft_prompt(PREFIX).invoke(text).text, "token ids travel as they are"
