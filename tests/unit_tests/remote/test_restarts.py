"""A server that was started anew is looked at before it answers, and one that was not is not bothered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import RequestFailedError, ServerMismatchError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import with_probes
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.testing import save_tiny_model
from tests.unit_tests.remote.conftest import MakeEngine
from tests.unit_tests.remote.shared import IDS, KINDS, PREFIX, SHORT, STORED, row_prompt
from tests.vllm import LoopbackVLLM, server

_AT_ONCE = 24


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> FrozenModel:
    """A model with other weights."""
    folder: Path = save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", seed=5)
    return FrozenModel.load(folder, dtype="float32")


@pytest.fixture(scope="module")
def probed(here: Engine) -> SoftPrompt:
    """Rows that know what they do."""
    return with_probes(row_prompt(), here.model, [[{"role": "user", "content": text}] for text in ("Hi", "Who are you?", "Why?")])


def _replace(old: LoopbackVLLM, new: LoopbackVLLM) -> LoopbackVLLM:
    """Have another server at the address of one that was stopped."""
    old.down()
    new._port = old._port
    return new


def _checks(vllm: LoopbackVLLM) -> int:
    return [path for path, _ in vllm.requests].count("/v1/models")


@pytest.mark.parametrize("kind", KINDS)
def test_other_weights_behind_the_same_name_answer_nothing(vllm: LoopbackVLLM, another: FrozenModel, make: MakeEngine, kind: str) -> None:
    vllm.soft_prompts = {one.content_hash: one for one in STORED}
    engine = make(vllm)
    for prompt in (KINDS[kind], None):
        engine.submit(IDS, soft_prompt=prompt, settings=SHORT).result()
    with _replace(vllm, LoopbackVLLM(another, STORED)) as wrong:
        for _ in range(3):  # also on the connection over which it has said what it is
            with pytest.raises(ServerMismatchError, match=str(another.fingerprint)):
                engine.submit(IDS, soft_prompt=KINDS[kind], settings=SHORT).result()
        assert not wrong.asked()


def test_other_weights_that_are_known_to_nobody_are_found_out_by_probes_again(
    vllm: LoopbackVLLM, another: FrozenModel, make: MakeEngine, probed: SoftPrompt
) -> None:
    vllm.plugin = False
    engine = make(vllm)
    engine.submit(IDS, soft_prompt=probed, settings=SHORT).result()
    with _replace(vllm, LoopbackVLLM(another)) as wrong:
        wrong.plugin = False
        for _ in range(2):
            with pytest.raises(ServerMismatchError, match="does not do there what it did"):
                engine.submit(IDS, soft_prompt=probed, settings=SHORT).result()
        assert {body["max_tokens"] for body in wrong.asked()} == {1}, "nothing but probes"


@pytest.mark.parametrize("plugin", [True, False])
def test_a_restart_with_the_same_weights_costs_no_try(
    vllm: LoopbackVLLM, served_model: FrozenModel, here: Engine, make: MakeEngine, probed: SoftPrompt, plugin: bool
) -> None:
    vllm.plugin = plugin
    engine = make(vllm, retries=0)
    right = here.submit(IDS, soft_prompt=probed, settings=SHORT).result().token_ids
    for expected in range(1, 3):
        running = [engine.submit(IDS, soft_prompt=probed, settings=SHORT) for _ in range(4)]
        assert {one.result().token_ids for one in running} == {right}
        assert expected <= _checks(vllm) <= 4 * expected
        vllm.down()
        vllm.up()


@pytest.mark.parametrize("plugin", [True, False])
def test_many_requests_at_once_share_one_look_at_the_server(
    vllm: LoopbackVLLM, here: Engine, make: MakeEngine, probed: SoftPrompt, plugin: bool
) -> None:
    """Each of them opens a connection of its own."""
    vllm.plugin, vllm.pace = plugin, 0.02
    engine = make(vllm)
    running = [engine.submit(IDS, soft_prompt=probed, settings=SHORT) for _ in range(_AT_ONCE)]
    right = here.submit(IDS, soft_prompt=probed, settings=SHORT).result().token_ids
    assert {one.result().token_ids for one in running} == {right}
    assert vllm.connections >= _AT_ONCE
    assert _checks(vllm) <= 4
    answers = [body for body in vllm.asked() if body["max_tokens"] == SHORT.max_new_tokens]
    assert len(answers) == _AT_ONCE
    probes = len(vllm.asked()) - _AT_ONCE
    vllm.requests.clear()
    engine.submit(IDS, soft_prompt=probed, settings=SHORT).result()
    assert len(vllm.requests) == 1, "and later ones need none"
    with make(vllm) as alone:
        alone.submit(IDS, soft_prompt=probed, settings=SHORT).result()
    assert len(vllm.asked()) - 2 == probes, "nor were probes read more than once"


@pytest.fixture
def forgetful(vllm: LoopbackVLLM, monkeypatch: pytest.MonkeyPatch) -> LoopbackVLLM:
    """A server that closes each connection after one answer, and does not know its weights."""
    end = server._Connection.end_headers

    def last(connection: server._Connection) -> None:
        connection.send_header("Connection", "close")
        end(connection)

    monkeypatch.setattr(server._Connection, "end_headers", last)
    vllm.plugin = False
    return vllm


def test_a_server_that_keeps_no_connection_answers(forgetful: LoopbackVLLM, here: Engine, make: MakeEngine, probed: SoftPrompt) -> None:
    """Each request may reach another process then, but there is an end to looking."""
    for prompt in (probed, None):
        answer = make(forgetful, retries=0).submit(IDS, soft_prompt=prompt, settings=SHORT).result()
        assert answer.token_ids == here.submit(IDS, soft_prompt=prompt, settings=SHORT).result().token_ids


def test_a_server_that_serves_something_else_at_each_connection_is_an_error(
    forgetful: LoopbackVLLM, make: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = iter(range(500, 1000))
    models = forgetful.models

    def changing() -> dict[str, Any]:
        forgetful.max_model_len = next(rooms)
        return models()

    monkeypatch.setattr(forgetful, "models", changing)
    with pytest.raises(RequestFailedError, match="something else at each connection"):
        make(forgetful).submit(IDS, settings=SHORT).result()
    assert not forgetful.asked()


def test_requests_say_which_model_they_are_for_and_a_server_that_has_another_is_found_out(
    vllm: LoopbackVLLM, another: FrozenModel, make: MakeEngine
) -> None:
    """Whatever stands between: the connection is the old one."""
    vllm.soft_prompts = {PREFIX.content_hash: PREFIX}
    engine = make(vllm)
    for allow in (True, False):
        engine.submit(IDS, soft_prompt=PREFIX, settings=SHORT, allow_other_model=allow).result()
        assert vllm.asked()[-1]["soft_prompt"]["model_fingerprint"] == engine.model.fingerprint
    vllm.fingerprint = another.fingerprint
    for allow in (True, False):
        with pytest.raises(ServerMismatchError, match=str(another.fingerprint)):
            engine.submit(IDS, soft_prompt=PREFIX, settings=SHORT, allow_other_model=allow).result()
