"""Tokens become text: whole characters, cut at stop strings, the same in pieces as at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_softprompt.messages import TextStream
from langchain_softprompt.testing import tiny_tokenizer

TOKENIZER: Any = tiny_tokenizer()


def _pieces(text: str, stop: list[str]) -> tuple[list[str], TextStream]:
    stream = TextStream(TOKENIZER, stop)
    pieces = [stream.push([token]) for token in TOKENIZER.encode(text, add_special_tokens=False)]
    return [*pieces, stream.finish()], stream


def test_character_of_several_tokens_comes_whole() -> None:
    pieces, _ = _pieces("aé🎉", [])
    assert [piece for piece in pieces if piece] == ["a", "é", "🎉"]


def test_partial_stop_string_is_held_back_and_released_when_it_was_none() -> None:
    pieces, stream = _pieces("one ENx two", ["END"])
    assert pieces[4:7] == ["", "", "ENx"]
    assert ("".join(pieces), stream.stopped_by) == ("one ENx two", None)


def test_text_is_cut_before_a_stop_string_of_several_tokens() -> None:
    pieces, stream = _pieces("one END two", ["nope", "END"])
    assert ("".join(pieces), stream.stopped_by) == ("one ", "END")


def test_held_back_text_is_released_at_the_end() -> None:
    assert "".join(_pieces("one EN", ["END"])[0]) == "one EN"


def test_stop_string_within_a_false_start_is_found() -> None:
    assert "".join(_pieces("aaab", ["aab"])[0]) == "a"


def test_stop_string_of_one_character_of_several_tokens() -> None:
    assert "".join(_pieces("go 🎉 on", ["🎉"])[0]) == "go "


def test_unfinished_character_at_the_end_is_shown_as_such() -> None:
    stream = TextStream(TOKENIZER)
    token_ids = TOKENIZER.encode("aé", add_special_tokens=False)[:-1]
    assert stream.push(token_ids) + stream.finish() == "a\ufffd"


def test_special_tokens_make_no_text() -> None:
    stream = TextStream(TOKENIZER)
    ids = [*TOKENIZER.encode("a", add_special_tokens=False), TOKENIZER.convert_tokens_to_ids("<|im_start|>")]
    assert stream.push([*ids, *ids]) + stream.finish() == "aa"


def test_nothing_comes_after_a_stop_string() -> None:
    stream = TextStream(TOKENIZER, ["."])
    assert stream.push(TOKENIZER.encode("a.b")) == "a"
    assert stream.push(TOKENIZER.encode("c")) + stream.finish() == ""


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_pieces_joined_are_the_text_up_to_the_first_stop_string(text: str, stop: list[str]) -> None:
    pieces, stream = _pieces(text, stop)
    joined = "".join(pieces)
    assert text.startswith(joined)
    assert not any(string in joined for string in stop)
    if stream.stopped_by is None:
        assert joined == text
    else:
        assert text[len(joined) :].startswith(stream.stopped_by)


@given(st.lists(st.integers(0, 255), max_size=24))
def test_any_bytes_come_out_as_the_tokenizer_decodes_them_at_once(byte_tokens: list[int]) -> None:
    """Whatever a model makes up: bytes that are no UTF-8 as well."""
    stream = TextStream(TOKENIZER)
    assert "".join([*(stream.push([token]) for token in byte_tokens), stream.finish()]) == TOKENIZER.decode(byte_tokens)


def test_piece_sizes_do_not_matter() -> None:
    ids = TOKENIZER.encode("one 🎉 END two", add_special_tokens=False)
    at_once = TextStream(TOKENIZER, ["END"])
    assert at_once.push(ids) + at_once.finish() == "".join(_pieces("one 🎉 END two", ["END"])[0])


@pytest.mark.parametrize("stop", [["END"], []])
def test_empty_answer_is_empty_text(stop: list[str]) -> None:
    assert TextStream(TOKENIZER, stop).finish() == ""
