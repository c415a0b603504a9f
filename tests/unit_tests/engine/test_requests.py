"""What a request is told: where it ends, what it counts, and what is refused at once."""

from __future__ import annotations

import re

import pytest
import torch

from langchain_softprompt.errors import ContextLengthError, EngineBusyError, InvalidSettingsError, RequestError
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.tiny import VOCAB, build, embedding_prompt, generate, shared, tokens


def test_a_stop_token_ends_the_answer_and_is_left_out(new_engine: NewEngine) -> None:
    model = shared("llama")
    whole = generate(model, tokens(5), new=20)
    stop = whole[8]
    cut = whole.index(stop)
    result = new_engine(model).submit(tokens(5), settings=GenerationSettings(max_new_tokens=20, stop_token_ids=(stop,))).result()
    assert list(result.token_ids) == whole[:cut]
    assert result.finish_reason == "stop"


def test_the_models_own_end_of_sequence_token_ends_the_answer(new_engine: NewEngine) -> None:
    whole = generate(shared("llama"), tokens(5), new=20)
    model = build("llama", eos_token_id=whole[6])
    assert model.eos_token_ids == (whole[6],)
    result = new_engine(model).submit(tokens(5), settings=GenerationSettings(max_new_tokens=20)).result()
    assert list(result.token_ids) == whole[: whole.index(whole[6])]
    assert result.finish_reason == "stop"


def test_a_stop_token_as_the_very_first_one_gives_an_empty_answer(new_engine: NewEngine) -> None:
    model = shared("llama")
    first = generate(model, tokens(5), new=1)[0]
    result = new_engine(model).submit(tokens(5), settings=GenerationSettings(stop_token_ids=(first,))).result()
    assert result.token_ids == ()
    assert result.finish_reason == "stop"


@pytest.mark.parametrize("new", [1, 2, 7])
def test_max_new_tokens_is_exact(new: int, new_engine: NewEngine) -> None:
    result = new_engine(shared("llama")).submit(tokens(3), settings=GenerationSettings(max_new_tokens=new)).result()
    assert len(result.token_ids) == new
    assert result.finish_reason == "length"


def test_counts_say_what_was_read_and_what_was_compiled_before(new_engine: NewEngine) -> None:
    engine, prompt, short = new_engine(shared("llama")), embedding_prompt(6), GenerationSettings(max_new_tokens=1)
    first = engine.submit(tokens(4), soft_prompt=prompt, settings=short).result()
    second = engine.submit(tokens(4), soft_prompt=prompt.with_source("the same under another name"), settings=short).result()
    bare = engine.submit(tokens(4), settings=short).result()
    assert (first.prompt_tokens, first.virtual_tokens, first.cached_tokens) == (4, 6, 0)
    assert (second.prompt_tokens, second.virtual_tokens, second.cached_tokens) == (4, 6, 6)
    assert (bare.prompt_tokens, bare.virtual_tokens, bare.cached_tokens) == (4, 0, 0)


def test_a_request_beyond_the_context_is_refused_with_all_numbers(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    numbers = "20 virtual tokens + 480 prompt tokens + 13 new tokens = 513, but the context of tiny-llama holds 512."
    with pytest.raises(ContextLengthError, match=re.escape(f"{numbers} Lower max_new_tokens to 12")):
        engine.submit(tokens(480), soft_prompt=embedding_prompt(20), settings=GenerationSettings(max_new_tokens=13))
    with pytest.raises(ContextLengthError, match="Shorten the text"):
        engine.submit(tokens(512), settings=GenerationSettings(max_new_tokens=1))


def test_a_request_that_fills_the_context_exactly_runs(new_engine: NewEngine) -> None:
    result = new_engine(shared("gpt2")).submit(tokens(500), settings=GenerationSettings(max_new_tokens=12)).result()
    assert list(result.token_ids) == generate(shared("gpt2"), tokens(500), new=12)


@pytest.mark.parametrize("bad", [-1, VOCAB])
def test_token_ids_the_model_does_not_know_are_refused_at_once(bad: int, new_engine: NewEngine) -> None:
    with pytest.raises(RequestError, match=f"does not know token id {bad}: its ids go from 0 to {VOCAB - 1}"):
        new_engine(shared("llama")).submit([1, bad, 2])


@pytest.mark.parametrize("bad", [["text"], [1.5], [[1, 2]]])
def test_token_ids_that_are_no_integers_are_refused_at_once(bad: list[object], new_engine: NewEngine) -> None:
    with pytest.raises(RequestError, match="Token ids must be integers"):
        new_engine(shared("llama")).submit(bad)


@pytest.mark.parametrize("prompted", [False, True])
def test_a_request_without_tokens_is_refused_at_once(prompted: bool, new_engine: NewEngine) -> None:
    with pytest.raises(RequestError, match=r"no tokens\. Give at least one"):
        new_engine(shared("llama")).submit([], soft_prompt=embedding_prompt(2) if prompted else None)


def test_a_tensor_of_ids_is_as_good_as_a_list(new_engine: NewEngine) -> None:
    engine, short = new_engine(shared("llama")), GenerationSettings(max_new_tokens=3)
    assert engine.submit(torch.tensor(tokens(4)), settings=short).result() == engine.submit(tokens(4), settings=short).result()


def test_a_full_queue_refuses_and_takes_again_once_there_is_room(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"), max_rows=1, max_queue=1)
    long = GenerationSettings(max_new_tokens=400)
    running, waiting = engine.submit(tokens(2), settings=long), engine.submit(tokens(2), settings=long)
    with pytest.raises(EngineBusyError, match="raise max_queue in EngineLimits"):
        engine.submit(tokens(2))
    waiting.cancel()
    third = engine.submit(tokens(2), settings=GenerationSettings(max_new_tokens=2))
    running.cancel()
    assert third.result().finish_reason == "length"


def test_settings_are_checked_where_they_are_made() -> None:
    with pytest.raises(InvalidSettingsError):
        GenerationSettings(max_new_tokens=0)
