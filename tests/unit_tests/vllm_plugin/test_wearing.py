"""What a request says of the soft prompt it wears, read strictly: a request that can't be served is refused, never answered bare."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_softprompt.vllm_plugin.salting import Salts
from langchain_softprompt.vllm_plugin.wearing import transfer_params, worn_by

NAME = "ab" * 32
LENGTHS = {NAME: 5}


SALTS = Salts("a secret of the server")
SALT = SALTS.salt(NAME)


def _worn(params: Any, *, prompt_tokens: int = 9, salt: str | None = SALT) -> Any:
    return worn_by(params, prompt_tokens=prompt_tokens, salt=salt, salts=SALTS, lengths=LENGTHS)


def test_what_the_route_writes_is_read_as_a_soft_prompt_without_a_problem() -> None:
    worn = _worn(transfer_params(NAME, 5))
    assert (worn.content_hash, worn.length, worn.problem) == (NAME, 5, None)


@pytest.mark.parametrize("params", [None, {}, {"do_remote_prefill": True}])
def test_a_request_of_somebody_elses_wears_nothing(params: Any) -> None:
    assert _worn(params) is None


@pytest.mark.parametrize(
    ("params", "rest", "words"),
    [
        (transfer_params("cd" * 32, 5), {}, "not served here"),
        (transfer_params(NAME, 4), {}, "4 virtual tokens of a soft prompt of 5"),
        (transfer_params(NAME, 5), {"salt": None}, "cache_salt"),
        (transfer_params(NAME, 5), {"salt": "mine é"}, "cache_salt"),
        (transfer_params(NAME, 5), {"salt": NAME}, "cache_salt"),
        (transfer_params(NAME, 5), {"salt": Salts("another server's").salt(NAME)}, "cache_salt"),
        (transfer_params(NAME, 5), {"prompt_tokens": 5}, "no text"),
        ({"soft_prompt": NAME}, {}, "another form"),
        ({"soft_prompt": 7, "virtual_tokens": 5}, {}, "another form"),
        ({"soft_prompt": NAME, "virtual_tokens": True}, {}, "another form"),
        ({"soft_prompt": NAME, "virtual_tokens": 0}, {}, "another form"),
    ],
)
def test_each_way_to_say_it_wrongly_is_named(params: Any, rest: dict[str, Any], words: str) -> None:
    assert words in _worn(params, **rest).problem


@given(
    name=st.one_of(st.just(NAME), st.text(), st.integers(), st.none(), st.lists(st.integers())),
    length=st.one_of(st.integers(), st.booleans(), st.none(), st.text(), st.floats()),
    salt=st.one_of(st.just(SALT), st.just(NAME), st.none(), st.text()),
    prompt_tokens=st.integers(0, 20),
)
def test_whatever_a_client_sends_only_the_right_words_are_served(name: Any, length: Any, salt: str | None, prompt_tokens: int) -> None:
    worn = _worn({"soft_prompt": name, "virtual_tokens": length}, salt=salt, prompt_tokens=prompt_tokens)
    right = name == NAME and type(length) is int and length == 5 and salt == SALT and prompt_tokens > 5
    assert (worn.problem is None) == right
    assert worn.length >= 1
