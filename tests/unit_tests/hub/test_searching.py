"""Searching reads configurations alone, and tells soft prompts from other adapters, and those that fit from those that don't."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import constants

from langchain_softprompt.errors import HubRateLimitError, HubUnreachableError
from langchain_softprompt.hub import HubPolicy, set_policy
from langchain_softprompt.hub.searching import ModelSizes, search_soft_prompts
from tests.hub import LoopbackHub
from tests.unit_tests.hub.shared import soft_prompt_files

pytest_plugins = ("tests.hub.fixtures",)
BASE = "acme/tiny"


def card(*tags: str, base: str = BASE) -> bytes:
    listed = ["peft", f"base_model:adapter:{base}", *tags]
    return f"---\nlicense: mit\nlibrary_name: peft\nbase_model: {base}\ntags: {json.dumps(listed)}\n---\n# Card\n".encode()


@pytest.fixture
def filled(default_hub: LoopbackHub) -> LoopbackHub:
    set_policy(None)
    files = soft_prompt_files()
    default_hub.add("acme/router", {**files, "README.md": card("soft-prompt", "prefix-tuning", "text-classification")})
    default_hub.set("acme/router", downloads=50)
    default_hub.add("other/router-two", {**files, "README.md": card("soft-prompt", base="acme/large")})
    default_hub.set("other/router-two", downloads=90)
    lora = b'{"peft_type": "LORA"}'
    default_hub.add("acme/lora-router", {"adapter_config.json": lora, "adapter_model.safetensors": b"x", "README.md": card()})
    default_hub.add("acme/broken-router", {"adapter_config.json": b"{", "README.md": card()})
    return default_hub


def names(*args: str, **how: object) -> list[str]:
    return [one.repo_id for one in search_soft_prompts(*args, **how)]  # type: ignore[arg-type]


def test_soft_prompts_are_found_by_text_model_and_task_the_most_downloaded_first(filled: LoopbackHub) -> None:
    assert names() == ["other/router-two", "acme/router"]
    assert names("two") == ["other/router-two"]
    assert names(base_model=BASE) == ["acme/router"]
    assert names(task="text-classification") == ["acme/router"]
    assert names(limit=1) == ["other/router-two"]
    assert names("nothing-like-it") == []


def test_a_hit_tells_what_one_wants_to_know_and_no_weights_are_fetched(filled: LoopbackHub) -> None:
    (found,) = search_soft_prompts(base_model=BASE)
    assert (found.kind, found.licence, found.downloads, found.gated) == ("PREFIX_TUNING", "mit", 50, False)
    assert found.num_virtual_tokens == json.loads(soft_prompt_files()["adapter_config.json"] or b"")["num_virtual_tokens"]
    assert found.updated is not None
    assert not [request for request in filled.requests if "safetensors" in request]


def test_those_that_do_not_fit_the_model_at_hand_say_why(filled: LoopbackHub) -> None:
    config = json.loads(soft_prompt_files()["adapter_config.json"] or b"")
    width, layers = config["token_dim"], config["num_layers"]
    (fits,) = search_soft_prompts(base_model=BASE, sizes=ModelSizes(999, layers, width))
    (does_not,) = search_soft_prompts(base_model=BASE, sizes=ModelSizes(999, layers, width + 1))
    assert fits.misfit == ""
    assert does_not.misfit == f"made for a model with token_dim {width}, yours has {width + 1}"
    assert ModelSizes(999, 2, width).misfit({**config, "num_layers": 3}) == "made for a model with num_layers 3, yours has 2"
    assert ModelSizes(64, 2, 8).misfit({"peft_type": "PROMPT_TUNING", "token_dim": 8}) == "made for a model with token_dim 8, yours has 64"


def test_no_answer_is_not_an_empty_one(filled: LoopbackHub) -> None:
    filled.fail("*/paths-info/*", status=429, headers={"Retry-After": "7"})
    with pytest.raises(HubRateLimitError, match="in 7 seconds"):
        names()


def test_one_whose_configuration_is_not_ours_to_read_is_not_said_to_fit(filled: LoopbackHub) -> None:
    filled.set("acme/router", gated="manual")
    (found,) = search_soft_prompts(base_model=BASE, sizes=ModelSizes(999, 1, 1))
    assert found.gated
    assert found.misfit.startswith("unknown")


def test_organisations_that_are_not_allowed_are_not_found(filled: LoopbackHub) -> None:
    set_policy(HubPolicy(organisations=frozenset({"acme"})))
    try:
        assert names() == ["acme/router"]
    finally:
        set_policy(None)


def test_offline_is_a_typed_error(filled: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachableError, match="soft prompts"):
        names()
