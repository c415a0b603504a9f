"""A second opinion on pulling: other people's Hub server, olah, serves the same git repository (`make integration` installs it)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from pytest_socket import socket_allow_hosts

from langchain_softprompt.hub import HubPolicy, fetch_soft_prompt, set_policy
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.refs import SoftPromptRef
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.hub.shared import soft_prompt_files

pytest_plugins = ("tests.hub.fixtures",)
OLAH = os.environ.get("OLAH") or shutil.which("olah-cli")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not OLAH, reason="olah is not installed: make integration does that")]


def _git(*arguments: str, where: Path) -> str:
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    return subprocess.run(["git", *identity, *arguments], cwd=where, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def commits(tmp_path: Path, hub_cache: Path, socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The two commits of ``acme/router``, served by olah."""
    socket_allow_hosts(["127.0.0.1", "localhost"], allow_unix_socket=True)
    repository = tmp_path / "mirrors" / "models" / "acme" / "router"
    repository.mkdir(parents=True)
    _git("init", "-q", "-b", "main", where=repository)
    made = []
    for seed in (1, 2):
        for name, content in soft_prompt_files(seed).items():
            (repository / name).write_bytes(content or b"")
        _git("add", "-A", where=repository)
        _git("commit", "-q", "-m", f"Seed {seed}", where=repository)
        made.append(_git("rev-parse", "HEAD", where=repository))
    _git("tag", "v1", made[0], where=repository)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "olah.toml"
    config.write_text(f"[basic]\nmirrors-path = ['{tmp_path / 'mirrors'}']\n[accessibility]\noffline = true\n")
    command = [str(OLAH), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--repos-path", str(tmp_path / "repos")]
    with (tmp_path / "olah.log").open("wb") as log:
        server = subprocess.Popen([*command, "--log-path", str(tmp_path / "logs")], cwd=tmp_path, stdout=log, stderr=log)
    try:
        _wait_for(port, server, tmp_path / "olah.log")
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"http://127.0.0.1:{port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.chdir(tmp_path)
        PINS.forget()
        set_policy(HubPolicy(scans="off"))
        yield made
    finally:
        set_policy(None)
        PINS.forget()
        server.terminate()
        server.wait(30)


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_branch_tag_and_commit_give_the_bytes_that_git_holds_and_offline_too(commits: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = commits
    for name, commit, seed in (("acme/router", second, 2), ("acme/router@v1", first, 1), (f"acme/router@{first}", first, 1)):
        folder, found = fetch_soft_prompt(SoftPromptRef.parse(name))
        assert found == commit
        wanted = soft_prompt_files(seed)
        assert {file: (folder / file).read_bytes() for file in wanted} == wanted
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    PINS.forget()
    assert SoftPrompt.load("acme/router").revision == second
