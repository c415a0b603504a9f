"""The base model: named so that a stranger finds it, or asked for."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_softprompt.card import write_card
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.testing import tiny_soft_prompt
from tests.unit_tests.card.cards import BASE, COMMIT, FINGERPRINT, blocks, card, front, read, soft_prompt


def _made_for(name: str, revision: str | None = None) -> Any:
    return soft_prompt(base_model={"id": name, "revision": revision, "fingerprint": FINGERPRINT})


@pytest.mark.parametrize("name", ["/home/jdoe/models/base", r"C:\Users\jdoe\base", "~/base", "./base", "base", "Some.Q4_1", "a/b/c", ""])
def test_a_name_that_is_none_on_the_hub_is_asked_for(name: str) -> None:
    with pytest.raises(InvalidSettingsError, match=r"base_model='org/name'"):
        card(_made_for(name))


def test_a_name_without_a_commit_may_be_a_folder_and_is_asked_for() -> None:
    with pytest.raises(InvalidSettingsError, match="with no commit, as a folder on this machine would be"):
        card(_made_for("models/base"))
    with pytest.raises(InvalidSettingsError, match="does not say which model it was made for"):
        card(tiny_soft_prompt())


@pytest.mark.parametrize("revision", ["--upload-pack=x", "a b", "main\n", "../.."])
def test_a_commit_that_is_none_is_not_believed(revision: str) -> None:
    with pytest.raises(InvalidSettingsError):
        card(_made_for(BASE, revision))


def test_a_name_that_was_given_takes_the_place_of_a_folder_which_then_is_nowhere_in_the_card() -> None:
    text = card(_made_for("/home/jdoe/models/base"), base_model=BASE)
    assert front(text)["base_model"] == BASE
    assert "jdoe" not in text
    assert f'ChatSoftPrompt(model="{BASE}", max_tokens=64)' in blocks(text, "python")[0]
    assert "its commit\nnot recorded" in read(text)


def test_a_commit_goes_with_its_own_name_only() -> None:
    assert COMMIT in card(base_model=BASE)
    assert COMMIT not in card(base_model="other/base")
    text = card(base_model="other/base@v2")
    assert all('revision="v2"' in block for block in blocks(text, "python"))


@pytest.mark.parametrize("named", ["./base", "/home/jdoe/base", "base", "acme/base#sub", "acme/base@", "embedded"])
def test_a_name_that_was_given_must_be_one_on_the_hub(named: str) -> None:
    with pytest.raises(InvalidSettingsError, match="base_model: expected a model on the Hub"):
        write_card(soft_prompt(), "acme/homes", base_model=named)


def test_the_embedded_model_may_be_given_another_name_and_is_still_loaded_as_what_it_is() -> None:
    text = card(_made_for("embedded:smollm2-135m-instruct"), base_model="mirror/SmolLM2")
    assert front(text)["base_model"] == "mirror/SmolLM2"
    with_langchain, with_peft = blocks(text, "python")
    assert 'ChatSoftPrompt(model="embedded"' in with_langchain
    assert 'gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf"' in with_peft
