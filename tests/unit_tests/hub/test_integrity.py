"""What was fetched is what was published, also where the cache does not say by its links what that was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from langchain_softprompt.errors import HubError, InvalidSoftPromptError
from langchain_softprompt.hub import HubPolicy, fetch_soft_prompt, set_policy
from langchain_softprompt.hub.integrity import check_contents
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.refs import SoftPromptRef
from tests.hub import LoopbackHub
from tests.unit_tests.hub.shared import in_new_process, soft_prompt_files

pytest_plugins = ("tests.hub.fixtures",)
NAME = "acme/router"
FILES = soft_prompt_files(manifest=None)  # without a manifest, which has a hash of its own


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    PINS.forget()
    set_policy(HubPolicy(scans="off"))
    yield
    set_policy(None)
    PINS.forget()


def fetch() -> Path:
    return fetch_soft_prompt(SoftPromptRef.parse(NAME))[0]


@pytest.mark.parametrize("links", [True, False], ids=["with links", "without links"])
@pytest.mark.parametrize("name", list(FILES))
def test_other_bytes_of_the_same_length_are_noticed_and_the_next_try_heals(
    default_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, name: str, links: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    default_hub.offers_xet = False
    default_hub.add(NAME, FILES)
    default_hub.corrupt(f"GET */resolve/*/{name}")
    with pytest.raises(InvalidSoftPromptError, match=rf"{name}: hash: .*was taken out of the cache; fetch it again"):
        fetch()
    default_hub.heal()
    folder = fetch()
    assert {file: (folder / file).read_bytes() for file in FILES} == FILES
    assert (folder / name).is_symlink() is links


def test_a_process_whose_client_makes_no_links_notices_too(default_hub: LoopbackHub, hub_cache: Path) -> None:
    """The switch is read at import."""
    default_hub.offers_xet = False
    default_hub.add(NAME, FILES)
    code = f"from langchain_softprompt.soft_prompt import SoftPrompt; print(SoftPrompt.load({NAME!r}).kind)"
    switches = {"HF_HUB_DISABLE_SYMLINKS": "1", "HF_HUB_DISABLE_XET": "1", "LANGCHAIN_SOFTPROMPT_SCANS": "off"}
    default_hub.corrupt("GET */resolve/*.safetensors")
    first = in_new_process(code, hub_cache, default_hub.url, **switches)
    assert "hash: expected" in first.stderr
    default_hub.heal()
    second = in_new_process(code, hub_cache, default_hub.url, **switches)
    assert second.stdout.strip() == json.loads(FILES["adapter_config.json"] or b"")["peft_type"], second.stderr


def test_what_can_t_be_taken_out_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "adapter_config.json"
    (tmp_path / "blobs").mkdir()
    blob = tmp_path / "blobs" / ("0" * 64)
    blob.mkdir()
    folder.symlink_to(blob)
    with pytest.raises(HubError, match=r"adapter_config\.json is in the Hub's cache and can't be read"):
        check_contents({"adapter_config.json": folder}, {"adapter_config.json": "0" * 64})
