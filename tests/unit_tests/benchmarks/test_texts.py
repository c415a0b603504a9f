"""Texts that nobody has seen, and who asks for which soft prompt."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from benchmarks.texts import Texts, one_token_words, turns, zipf


@given(seed=st.integers(0, 2**32), lengths=st.lists(st.integers(4, 30), min_size=1, max_size=20))
def test_no_text_is_handed_out_twice_and_each_has_as_many_words_as_asked_for(seed: int, lengths: list[int]) -> None:
    texts = Texts([f"w{number}" for number in range(50)], seed)
    drawn = [texts.fresh(length) for length in lengths]
    assert [len(text.split()) for text in drawn] == lengths
    assert len(set(drawn)) == len(drawn)


def test_words_that_are_used_up_are_an_error_and_not_an_old_text() -> None:
    texts = Texts(["a", "b"])
    assert {texts.fresh(1), texts.fresh(1)} == {"a", "b"}
    with pytest.raises(ValueError, match="no further text"):
        texts.fresh(1)


def test_one_word_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least two words"):
        Texts(["alone"])


def test_only_words_of_one_token_in_both_places_are_taken() -> None:
    tokens = {"one": 1, " one": 1, "two": 1, " two": 2, "three": 2, " three": 1}
    assert one_token_words(["two", "three", "one", "Ġone", "x", "Upper"], lambda text: tokens.get(text, 9)) == ["one"]


def test_texts_of_such_words_have_exactly_that_many_tokens_of_a_byte_level_tokenizer() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    known = ["river", "stone", "cloud", "lamp", "green", "seven"]
    tokenizer.train_from_iterator([f"{word} {word}\n" for word in known] * 20, trainers.BpeTrainer(vocab_size=200))

    def count(text: str) -> int:
        return len(tokenizer.encode(text).ids)

    assert count("unheard") > 1
    words = one_token_words(list(tokenizer.get_vocab()), count)
    assert set(known) <= set(words)
    texts = Texts(words)
    assert all(count(texts.fresh(length)) == length for length in range(1, 40, 3))


def test_requests_take_soft_prompts_in_turn() -> None:
    assert turns(["a", "b", "c"], 5) == ["a", "b", "c", "a", "b"]


@given(seed=st.integers(0, 2**32), names=st.lists(st.text(min_size=1), min_size=1, max_size=30, unique=True), count=st.integers(0, 40))
def test_zipf_draws_so_many_known_names_and_the_same_again(seed: int, names: list[str], count: int) -> None:
    drawn = zipf(names, count, seed)
    assert len(drawn) == count
    assert set(drawn) <= set(names)
    assert zipf(names, count, seed) == drawn


def test_zipf_keeps_its_law() -> None:
    """The first of 100 names is asked for about n times as often as the n-th."""
    seen = Counter(zipf([str(rank) for rank in range(1, 101)], 50_000, seed=1))
    for rank in (2, 5, 10):
        assert seen["1"] / seen[str(rank)] == pytest.approx(rank, rel=0.15)
