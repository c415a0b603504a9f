"""Fixtures: a test module has them with ``pytest_plugins = ("tests.hub.fixtures",)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import _cache_manager
from pytest_socket import socket_allow_hosts

from tests.hub import TOKEN, LoopbackHub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for the Hub's client, which is online and has no token of the developer's.

    The client reads the environment once, at import, so its constants are what counts, and the one copy of a constant. (Most
    calls take a `cache_dir`, which is enough for them: blobs that repositories share are in there too.) With a store on this
    machine, Xet keeps what it keeps beside the store, except for its log, which goes where the environment says at its import.
    """
    cache = tmp_path / "client" / "hub"
    for module in (constants, _cache_manager):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache.parent / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(cache.parent / "stored_tokens"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_XET_CACHE", str(cache.parent / "xet"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return cache


@pytest.fixture
def loopback(tmp_path: Path, hub_cache: Path, socket_enabled: None) -> Iterator[LoopbackHub]:
    """A Hub on this machine, and no way to any other."""
    socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    with LoopbackHub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def hub_api(loopback: LoopbackHub) -> HfApi:
    """The real client, logged in to the loopback Hub."""
    return HfApi(endpoint=loopback.url, token=TOKEN)


@pytest.fixture
def default_hub(loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """The loopback Hub, as the one that a client talks to that is told of no endpoint."""
    monkeypatch.setattr(constants, "ENDPOINT", loopback.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", loopback.url + "/{repo_id}/resolve/{revision}/{filename}")
    return loopback
