"""LongRoPE: positions that mean something else in a longer row are never mixed."""

from __future__ import annotations

import logging

import pytest

from langchain_softprompt.errors import ContextLengthError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.tiny import ORIGINAL_LENGTH, build, generate, tokens


@pytest.fixture
def model(caplog: pytest.LogCaptureFixture) -> FrozenModel:
    with caplog.at_level(logging.WARNING):
        wrapped = build("phi3_longrope")
    assert f"served up to {ORIGINAL_LENGTH} positions, not 512" in caplog.text
    return wrapped


def test_up_to_the_original_length_a_row_is_exact_alone_and_in_company(model: FrozenModel, new_engine: NewEngine) -> None:
    engine = new_engine(model, prefill_chunk=16)
    settings = GenerationSettings(max_new_tokens=12)
    lengths = (52, 20, 5, 52)
    for _ in range(2):  # read, and then remembered
        running = [engine.submit(tokens(length, length), settings=settings) for length in lengths]
        assert [list(one.result().token_ids) for one in running] == [generate(model, tokens(length, length), new=12) for length in lengths]


def test_a_request_that_might_grow_past_the_original_length_is_refused(model: FrozenModel, new_engine: NewEngine) -> None:
    with pytest.raises(ContextLengthError, match=str(ORIGINAL_LENGTH)):
        new_engine(model).submit(tokens(53), settings=GenerationSettings(max_new_tokens=12))
