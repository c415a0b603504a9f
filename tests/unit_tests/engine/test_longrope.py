"""LongRoPE: positions that mean something else in a longer row are never mixed."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import AutoModelForCausalLM, Phi3Config

from langchain_softprompt.errors import ContextLengthError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.tiny import generate, tokens

ORIGINAL = 64


@pytest.fixture
def model(caplog: pytest.LogCaptureFixture) -> FrozenModel:
    config = Phi3Config(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        original_max_position_embeddings=ORIGINAL,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [4.0, 8.0, 16.0, 32.0],
            "original_max_position_embeddings": ORIGINAL,
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with caplog.at_level(logging.WARNING):
        wrapped = FrozenModel.wrap(network, name="tiny-phi3")
    assert f"served up to {ORIGINAL} positions, not 512" in caplog.text
    return wrapped


def test_up_to_the_original_length_a_row_is_exact_alone_and_in_company(model: FrozenModel, new_engine: NewEngine) -> None:
    engine = new_engine(model, prefill_chunk=16)
    settings = GenerationSettings(max_new_tokens=12)
    lengths = (52, 20, 5, 52)
    for _ in range(2):  # read, and then remembered
        running = [engine.submit(tokens(length, length), settings=settings) for length in lengths]
        assert [list(one.result().token_ids) for one in running] == [generate(model, tokens(length, length), new=12) for length in lengths]


def test_a_request_that_might_grow_past_the_original_length_is_refused(model: FrozenModel, new_engine: NewEngine) -> None:
    with pytest.raises(ContextLengthError, match=str(ORIGINAL)):
        new_engine(model).submit(tokens(53), settings=GenerationSettings(max_new_tokens=12))
