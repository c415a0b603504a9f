"""What is in the cache is listed without a request, and only soft prompts are ever taken out."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_softprompt.errors import HubError, SoftPromptNotFoundError
from langchain_softprompt.hub import HubPolicy, fetch_model, fetch_soft_prompt, set_policy
from langchain_softprompt.hub.cached import cached_soft_prompts, remove_cached
from langchain_softprompt.hub.pins import PINS
from langchain_softprompt.refs import SoftPromptRef
from tests.hub import LoopbackHub
from tests.unit_tests.hub.shared import soft_prompt_files

pytest_plugins = ("tests.hub.fixtures",)
LORA = {"adapter_config.json": b'{"peft_type": "LORA"}', "adapter_model.safetensors": b"x"}


@pytest.fixture
def filled(default_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """Two commits of a soft prompt, one in a subfolder, a LoRA and a model."""
    monkeypatch.chdir(tmp_path)
    PINS.forget()
    set_policy(HubPolicy(scans="off"))
    default_hub.add("acme/router", soft_prompt_files(1))
    fetch_soft_prompt(SoftPromptRef.parse("acme/router"))
    default_hub.add("acme/router", soft_prompt_files(2), branch="v2")
    fetch_soft_prompt(SoftPromptRef.parse("acme/router@v2"))
    default_hub.add("acme/moods", soft_prompt_files(3, manifest=None, inside="english/"))
    fetch_soft_prompt(SoftPromptRef.parse("acme/moods#english"))
    for repo, files in (("acme/lora", LORA), ("acme/model", {"config.json": b"{}", "model.safetensors": b"x"})):
        default_hub.add(repo, files)
        fetch_model(repo)
    default_hub.requests.clear()
    yield default_hub  # type: ignore[misc]
    set_policy(None)
    PINS.forget()


def test_each_commit_is_listed_with_its_model_its_size_and_its_branches(filled: LoopbackHub) -> None:
    found = cached_soft_prompts()
    assert [(one.ref.repo_id, one.ref.subfolder, one.branches) for one in found] == [
        ("acme/moods", "english", ("main",)),
        *sorted(
            [("acme/router", None, ("main",)), ("acme/router", None, ("v2",))],
            key=lambda one: filled.head("acme/router", one[2][0]),
        ),
    ]
    router = found[1]
    assert (router.base_model, router.description, router.kind) == ("acme/tiny", "Sorts letters.", "PREFIX_TUNING")
    assert router.size == sum(len(content or b"") for content in soft_prompt_files(1).values())
    assert found[0].description == ""
    assert (router.folder / "soft_prompt.json").is_file()
    assert router.to_json()["soft_prompt"] == str(router.ref)
    assert not filled.requests


def test_one_commit_is_taken_out_and_the_other_stays(filled: LoopbackHub) -> None:
    commit = filled.head("acme/router", "v2")
    dry, freed = remove_cached(SoftPromptRef.parse("acme/router@v2"), dry_run=True)
    assert len(cached_soft_prompts()) == 3
    going, same = remove_cached(SoftPromptRef.parse(f"acme/router@{commit[:8]}"))
    assert [one.ref for one in going] == [one.ref for one in dry]
    assert (freed, [one.ref.revision for one in going]) == (same, [commit])
    assert freed > 0
    assert [one.branches for one in cached_soft_prompts() if one.ref.repo_id == "acme/router"] == [("main",)]


def test_all_commits_of_a_repository_are_taken_out_by_its_name(filled: LoopbackHub) -> None:
    going, _ = remove_cached(SoftPromptRef.parse("acme/router"))
    assert len(going) == 2
    assert [one.ref.repo_id for one in cached_soft_prompts()] == ["acme/moods"]


@pytest.mark.parametrize("name", ["acme/model", "acme/lora", "acme/unknown", "acme/router@v9", "acme/router@abc"])
def test_models_other_adapters_and_what_is_not_there_are_never_taken_out(filled: LoopbackHub, hub_cache: Path, name: str) -> None:
    with pytest.raises(SoftPromptNotFoundError, match="langchain-softprompt list"):
        remove_cached(SoftPromptRef.parse(name))
    assert len(list(hub_cache.glob("models--*"))) == 4


def test_a_snapshot_that_holds_a_model_as_well_is_left_alone(filled: LoopbackHub, hub_cache: Path) -> None:
    filled.add("acme/both", {**soft_prompt_files(inside="soft/"), "config.json": b"{}", "model.safetensors": b"x"})
    fetch_model("acme/both")
    fetch_soft_prompt(SoftPromptRef.parse("acme/both#soft"))
    with pytest.raises(HubError, match=r"config\.json for instance, and nothing was taken out"):
        remove_cached(SoftPromptRef.parse("acme/both"))
    assert list(hub_cache.glob("models--acme--both/snapshots/*/model.safetensors"))


def test_a_cache_that_is_no_folder_is_a_typed_error(hub_cache: Path) -> None:
    hub_cache.parent.mkdir(parents=True, exist_ok=True)
    hub_cache.write_text("no folder")
    with pytest.raises(HubError, match="Set HF_HUB_CACHE to a folder"):
        cached_soft_prompts()


def test_a_broken_entry_spoils_no_list(filled: LoopbackHub) -> None:
    for name, content in (("soft_prompt.json", b"[1]"), ("adapter_config.json", b"{")):
        one = next(entry for entry in cached_soft_prompts() if entry.ref.repo_id == "acme/router")
        file = (one.folder / name).resolve()
        file.chmod(0o644)
        file.write_bytes(content)
    assert cached_soft_prompts()


def test_no_cache_is_an_empty_list(hub_cache: Path) -> None:
    assert cached_soft_prompts() == []
    with pytest.raises(SoftPromptNotFoundError):
        remove_cached(SoftPromptRef.parse("acme/router"))
