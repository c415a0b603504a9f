"""The door to the Hub: names become folders pinned to a commit, from this machine where it can be."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub import constants

from langchain_softprompt import hub
from langchain_softprompt.errors import ModelUnavailableError, SoftPromptNotFoundError
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.refs import SoftPromptRef

COMMIT, OLDER = "ab" * 20, "cd" * 20


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache, offline. (huggingface_hub reads the environment once, at import.)"""
    cache = tmp_path / "hub"
    PINS.forget()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def lay_out(cache: Path, repo_id: str, commit: str, files: dict[str, str], **refs: str) -> Path:
    """Write what a download of `repo_id` leaves behind."""
    repo = cache / f"models--{repo_id.replace('/', '--')}"
    snapshot = repo / "snapshots" / commit
    for name, content in files.items():
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_text(content)
    for name, target in refs.items():
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / name).write_text(target)
    return snapshot


def _files(inside: str = "") -> dict[str, str]:
    return {inside + name: "{}" for name in hub.SOFT_PROMPT_FILES}


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("acme/router", True),
        ("acme/router@v2", False),
        ("acme/router#x", False),
        ("router", False),
        ("./acme/router", False),
        ("", False),
        ("a/b/c", False),
        ("acme/router\0", False),
    ],
)
def test_only_org_slash_name_is_a_repository_id(text: str, is_one: bool) -> None:
    assert hub.is_repo_id(text) is is_one


def test_a_cached_soft_prompt_resolves_to_its_commit_without_a_request(hub_cache: Path) -> None:
    snapshot = lay_out(hub_cache, "acme/router", COMMIT, _files(), main=COMMIT)
    assert hub.fetch_soft_prompt(SoftPromptRef.parse("acme/router")) == (snapshot, COMMIT)


def test_a_branch_a_tag_and_a_commit_each_resolve_to_their_own_commit(hub_cache: Path) -> None:
    newer = lay_out(hub_cache, "acme/router", COMMIT, _files(), main=COMMIT)
    older = lay_out(hub_cache, "acme/router", OLDER, _files(), v1=OLDER)
    assert hub.fetch_soft_prompt(SoftPromptRef.parse("acme/router")) == (newer, COMMIT)
    assert hub.fetch_soft_prompt(SoftPromptRef.parse("acme/router@v1")) == (older, OLDER)
    assert hub.fetch_soft_prompt(SoftPromptRef.parse(f"acme/router@{OLDER}")) == (older, OLDER)


def test_a_subfolder_of_a_repository_is_the_folder(hub_cache: Path) -> None:
    snapshot = lay_out(hub_cache, "acme/prompts", COMMIT, _files("mood/en/"), main=COMMIT)
    assert hub.fetch_soft_prompt(SoftPromptRef.parse("acme/prompts#mood/en")) == (snapshot / "mood" / "en", COMMIT)


def test_a_subfolder_that_is_not_cached_is_named_in_the_error(hub_cache: Path) -> None:
    lay_out(hub_cache, "acme/prompts", COMMIT, _files("mood/"), main=COMMIT)
    with pytest.raises(SoftPromptNotFoundError, match=r"acme/prompts#fury is not in the local cache"):
        hub.fetch_soft_prompt(SoftPromptRef.parse("acme/prompts#fury"))


def test_a_local_folder_of_the_same_text_wins_over_the_cached_repository(
    hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(hub_cache, "acme/router", COMMIT, _files(), main=COMMIT)
    monkeypatch.chdir(tmp_path)
    local = Path("acme/router")
    local.mkdir(parents=True)
    assert hub.fetch_soft_prompt(SoftPromptRef.parse("acme/router"))[1] == COMMIT, "an empty folder is no soft prompt"
    (local / "adapter_config.json").write_text("{}")
    assert hub.fetch_soft_prompt(SoftPromptRef.parse("acme/router")) == (local, None)


def test_a_folder_reference_is_taken_as_it_is_with_the_home_folder_filled_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.fetch_soft_prompt(SoftPromptRef.parse("~/router")) == (tmp_path / "router", None)
    assert hub.fetch_soft_prompt(SoftPromptRef.parse("./router")) == (Path("router"), None)


def test_the_home_folder_of_nobody_is_a_typed_error() -> None:
    with pytest.raises(SoftPromptNotFoundError, match="whole path"):
        hub.fetch_soft_prompt(SoftPromptRef.parse("~nobody-of-this-name/router"))


def test_a_name_too_long_for_the_file_system_is_looked_for_on_the_hub(hub_cache: Path) -> None:
    with pytest.raises(SoftPromptNotFoundError, match="local cache"):
        hub.fetch_soft_prompt(SoftPromptRef.parse("acme/router#" + "x" * 5000))


def test_offline_and_not_cached_says_so_and_what_to_do(hub_cache: Path) -> None:
    with pytest.raises(
        SoftPromptNotFoundError, match=r"acme/router@v9 is not in the local cache .* Go online once, or give a local folder"
    ):
        hub.fetch_soft_prompt(SoftPromptRef.parse("acme/router@v9"))
    with pytest.raises(ModelUnavailableError, match=r"acme/model is not in the local cache .* Go online once, or give a local folder"):
        hub.fetch_model("acme/model")


def test_a_cached_model_resolves_to_its_commit_without_a_request(hub_cache: Path) -> None:
    snapshot = lay_out(hub_cache, "acme/model", COMMIT, {"config.json": "{}", "model.safetensors": ""}, main=COMMIT)
    assert hub.fetch_model("acme/model") == (snapshot, COMMIT)
    assert hub.fetch_model("acme/model", revision="main") == (snapshot, COMMIT)
    with pytest.raises(ModelUnavailableError, match="acme/model@v2"):
        hub.fetch_model("acme/model", revision="v2")


class _Refusals(BaseHTTPRequestHandler):
    """A Hub that refuses every repository, in the way its name asks for."""

    codes: ClassVar = {
        "unknown": (404, "RepoNotFound"),
        "gated": (403, "GatedRepo"),
        "branchless": (404, "RevisionNotFound"),
        "broken": (500, ""),
    }

    def do_GET(self) -> None:
        name = next(name for name in self.codes if name in self.path)
        status, code = self.codes[name]
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing_hub(hub_cache: Path, socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The real client against a server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusals) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("repo_id", "next_step"),
    [
        ("acme/unknown", "no repository 'acme/unknown', or it is private. Check the spelling, or log in with: hf auth login"),
        ("acme/gated", "acme/gated@v2 is gated. Ask for access on its Hub page, then log in with: hf auth login"),
        ("acme/branchless", "acme/branchless has no branch, tag or commit 'v2'. Look at its history on the Hub"),
    ],
)
@pytest.mark.usefixtures("refusing_hub")
def test_what_the_hub_refuses_is_a_typed_error_with_the_next_step(repo_id: str, next_step: str) -> None:
    with pytest.raises(SoftPromptNotFoundError, match=re.escape(next_step)):
        hub.fetch_soft_prompt(SoftPromptRef.parse(f"{repo_id}@v2"))
    with pytest.raises(ModelUnavailableError, match=re.escape(next_step)):
        hub.fetch_model(repo_id, revision="v2")


@pytest.mark.usefixtures("refusing_hub")
def test_a_hub_that_breaks_down_is_a_typed_error() -> None:
    with pytest.raises(SoftPromptNotFoundError, match="acme/broken"):
        hub.fetch_soft_prompt(SoftPromptRef.parse("acme/broken"))


def test_a_hub_out_of_reach_is_told_apart_from_a_missing_repository(refusing_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SoftPromptNotFoundError, match="the Hub can't be reached"):
        hub.fetch_soft_prompt(SoftPromptRef.parse("acme/unknown"))


def test_a_cached_soft_prompt_is_still_found_when_the_hub_is_out_of_reach(
    refusing_hub: None, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = lay_out(hub_cache, "acme/router", COMMIT, _files(), main=COMMIT)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub.fetch_soft_prompt(SoftPromptRef.parse("acme/router")) == (snapshot, COMMIT)


def test_the_folder_of_a_run_that_is_not_done_is_told_as_what_it_is(tmp_path: Path) -> None:
    for name in ("settings.json", "log.jsonl"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(SoftPromptNotFoundError, match=r"a training run that is not done.*softprompt train --resume --output"):
        hub.fetch_soft_prompt(SoftPromptRef.parse(tmp_path))
    (tmp_path / "settings.json").write_text('{"notes": {"command": "distill"}}')
    with pytest.raises(SoftPromptNotFoundError, match=r"softprompt distill --resume --output"):
        hub.fetch_soft_prompt(SoftPromptRef.parse(tmp_path))
