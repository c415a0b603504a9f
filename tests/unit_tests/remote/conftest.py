"""One tiny model here and on a server, and soft prompts of every kind that travels in its own way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_socket import socket_allow_hosts

from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.remote import VLLMEngine
from langchain_softprompt.testing import save_tiny_model
from tests.vllm import LoopbackVLLM

MakeEngine = Callable[..., VLLMEngine]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's files."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def served_model(folder: Path) -> FrozenModel:
    """The model that servers have."""
    return FrozenModel.load(folder, dtype="float32")


@pytest.fixture(scope="session")
def here(folder: Path) -> Iterator[Engine]:
    """The engine in this process, of the same model."""
    with Engine(FrozenModel.load(folder, dtype="float32")) as engine:
        yield engine


@pytest.fixture(autouse=True)
def _this_machine_only(socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    for name in ("VLLM_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def vllm(served_model: FrozenModel) -> Iterator[LoopbackVLLM]:
    with LoopbackVLLM(served_model) as server:
        yield server


@pytest.fixture
def other(served_model: FrozenModel) -> Iterator[LoopbackVLLM]:
    """A second server of the same model."""
    with LoopbackVLLM(served_model) as server:
        yield server


@pytest.fixture
def make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeEngine]:
    """Makes engines, bound to the model, that wait little and are closed at the end."""
    for name, value in (("_FIRST_WAIT", 0.01), ("_LONGEST_WAIT", 0.02)):
        monkeypatch.setattr(f"langchain_softprompt.remote.servers.{name}", value)
    made: list[VLLMEngine] = []

    def engine(*servers: LoopbackVLLM | str, bind: bool = True, **options: object) -> VLLMEngine:
        urls = [server if isinstance(server, str) else server.url for server in servers]
        new = VLLMEngine(*urls, **options)  # type: ignore[arg-type]
        made.append(new)
        return new.for_model(folder) if bind else new

    yield engine
    for engine_ in made:
        engine_.close()
