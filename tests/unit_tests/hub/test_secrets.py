"""Nothing secret is told, and nothing that a stranger wrote steers what is told."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from langchain_softprompt.errors import HubError, HubUnreachableError, SoftPromptError, UntrustedSoftPromptError
from langchain_softprompt.hub import HubPolicy, UntrustedSoftPromptWarning, fetch_model, fetch_soft_prompt, set_policy
from langchain_softprompt.hub.client import plain
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.hub.publication import plan_publication
from langchain_softprompt.hub.publishing import publish
from langchain_softprompt.hub.scans import Scan
from langchain_softprompt.refs import SoftPromptRef
from tests.hub import TOKEN, LoopbackHub
from tests.unit_tests.hub.shared import in_new_process, soft_prompt_files

pytest_plugins = ("tests.hub.fixtures",)
NAME = "tester/router"
PASSWORD = "s3cr3t-pw"
CARD = {"README.md": b"---\nlicense: mit\n---\n# hi\n"}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    PINS.forget()
    set_policy(HubPolicy(scans="off"))
    yield
    set_policy(None)
    PINS.forget()


def fetch() -> tuple[Path, str | None]:
    return fetch_soft_prompt(SoftPromptRef.parse(NAME))


def push() -> object:
    return publish(plan_publication(NAME, CARD), "First")


@pytest.mark.parametrize("act", [fetch, push, lambda: fetch_model(NAME)], ids=["fetch", "push", "model"])
@pytest.mark.parametrize("status", [400, 401, 403, 418, 503])
def test_a_password_in_the_hub_s_address_is_in_no_error_nor_beneath_one(
    default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], status: int
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", default_hub.url.replace("://", f"://user:{PASSWORD}@"))
    default_hub.fail("*", status=status)
    with pytest.raises((SoftPromptError, OSError)) as caught:
        act()
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("at https://user:p%40w@hub.example/api?x=1 it failed", "at https://hub.example/api it failed"),
        ("at https://user:p'w@hub.example/api it failed", "at https://hub.example/api it failed"),
        ("proxy socks5://me:p@w@proxy:1080", "proxy socks5://proxy:1080"),
        ("https://hub.example/a@b stays", "https://hub.example/a@b stays"),
        ("Bearer hf_abc and\x1b[31m red\nlines", "(token) and\\x1b[31m red lines"),
    ],
)
def test_addresses_and_tokens_in_a_message_are_told_without_what_is_secret(text: str, told: str) -> None:
    assert plain(text) == told


def test_what_push_prints_has_no_password(default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push()
    monkeypatch.setattr(constants, "ENDPOINT", default_hub.url.replace("://", f"://user:{PASSWORD}@"))
    # With a user in the address the client sends that in place of the token, so the loopback Hub has to take it for one.
    monkeypatch.setattr("tests.hub.access.user_of", lambda hub, request: "tester")
    again = publish(plan_publication(NAME, CARD), "Again", tag="v1")
    assert again.url == f"{default_hub.url}/{NAME}"


@pytest.mark.parametrize("token", ["hf_gehe\u00efm", "hf_gehe\x00im"])
def test_a_token_that_can_t_be_sent_is_told_as_that_and_not_as_a_hub_out_of_reach(
    default_hub: LoopbackHub, hub_cache: Path, token: str
) -> None:
    hub_cache.parent.mkdir(parents=True, exist_ok=True)
    Path(constants.HF_TOKEN_PATH).write_text(token)
    with pytest.raises(HubError, match=r"the token holds characters that no token has\. Set HF_TOKEN anew") as caught:
        fetch()
    assert not isinstance(caught.value, HubUnreachableError)
    assert "gehe" not in "".join(traceback.format_exception(caught.value))


def test_a_file_s_name_steers_no_terminal_through_a_scan(default_hub: LoopbackHub) -> None:
    evil = "x\x1b[31m\x1b]0;pwned\x07.bin\nError: all is well"
    default_hub.add(NAME, {**soft_prompt_files(), evil: b"x"})
    default_hub.set(NAME, flagged={evil: "unsafe\r"})
    set_policy(HubPolicy(scans="warn"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fetch()
    set_policy(HubPolicy(scans="require"))
    with pytest.raises(UntrustedSoftPromptError) as caught:
        fetch()
    said = [str(one.message) for one in told if one.category is UntrustedSoftPromptWarning]
    assert len(said) == 1
    for text in (*said, str(caught.value)):
        assert text.isprintable()
        assert "pwned" in text
    assert str(Scan.of({"scansDone": True, "filesWithIssues": [{"path": "a\n" * 500, "level": "\x9b"}]})).isprintable()


def test_a_cache_that_can_t_be_written_to_is_told_as_that(default_hub: LoopbackHub, hub_cache: Path) -> None:
    default_hub.add(NAME, soft_prompt_files())
    hub_cache.parent.mkdir(parents=True, exist_ok=True)
    hub_cache.write_text("a file where the cache belongs")
    with pytest.raises(HubError, match=r"Can't fetch tester/router: .*set HF_HUB_CACHE to another folder than") as caught:
        fetch()
    assert not isinstance(caught.value, HubUnreachableError)


def test_a_full_disk_is_told_as_that(default_hub: LoopbackHub, hub_cache: Path) -> None:
    """By a limit on how large a file may become, which the system tells in the same way."""
    default_hub.offers_xet = False
    default_hub.add(NAME, {**soft_prompt_files(), "adapter_model.safetensors": b"x" * 100_000})
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from langchain_softprompt.errors import HubError, HubUnreachableError\n"
        "from langchain_softprompt.hub import fetch_soft_prompt; from langchain_softprompt.refs import SoftPromptRef\n"
        "import huggingface_hub.file_download\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"try:\n    fetch_soft_prompt(SoftPromptRef.parse({NAME!r}))\n"
        "except HubError as error:\n    print(isinstance(error, HubUnreachableError), error)"
    )
    told = in_new_process(code, hub_cache, default_hub.url, HF_HUB_DISABLE_XET="1", LANGCHAIN_SOFTPROMPT_SCANS="off")
    assert told.stdout.startswith(f"False Can't fetch {NAME}: [Errno 27]"), told.stdout + told.stderr
    assert f"set HF_HUB_CACHE to another folder than {hub_cache}" in told.stdout
