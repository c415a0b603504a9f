"""card_problems() says what the Hub would not like, about any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_softprompt.card import card_problems
from tests.unit_tests.card.cards import card


def test_a_card_of_our_own_has_none() -> None:
    assert card_problems(card()) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("library_name: peft", "library_name: transformers", "library_name: expected 'peft', found 'transformers'"),
        ("library_name: peft\n", "", "library_name: expected 'peft', found None"),
        ("base_model: acme/base", "base_model: /home/jdoe/base", "base_model: expected a model on the Hub"),
        ("base_model: acme/base", "base_model: [acme/base, acme/other]", "base_model: expected a model on the Hub"),
        ("base_model: acme/base", "base_model: acme/other", "tags: expected 'base_model:adapter:acme/other' among them"),
        ("base_model_relation: adapter", "base_model_relation: finetune", "base_model_relation: expected 'adapter'"),
        ("license: cc-by-4.0", "license: CC BY 4.0", "license: expected an identifier of the Hub's"),
        ("license: cc-by-4.0", "datasets: rows.jsonl", "datasets: expected data sets on the Hub"),
        ("license: cc-by-4.0", "datasets: [1]", "datasets: expected data sets on the Hub"),
        ("license: cc-by-4.0", "model-index: [{name: x}]", "Its front matter can't be read"),
        ("license: cc-by-4.0", "license: [", "Its front matter can't be read"),
        ("license: cc-by-4.0", "1: 2", "Its front matter can't be read"),
    ],
)
def test_what_is_wrong_in_the_front_matter_is_named(old: str, new: str, told: str) -> None:
    text = card()
    assert old in text
    (problem,) = card_problems(text.replace(old, new, 1))
    assert told in problem


def test_a_card_needs_front_matter_and_text() -> None:
    text = card()
    head, _, body = text.removeprefix("---\n").partition("---\n")
    assert card_problems(body) == ["It has no front matter: the Hub would find neither its base model nor its tags."]
    assert card_problems(f"---\n{head}---\n") == ["It says nothing: after the front matter there is no text."]
    assert card_problems(f"---\n{head}---\n{body}\ud800") != []
    assert card_problems("") != []


@given(st.text(st.characters(), max_size=60))
def test_any_text_gets_an_answer(text: str) -> None:
    for tried in (text, f"---\n{text}\n---\n{text}"):
        assert card_problems(tried)
