"""A cross-section of the families in docs/models.md; tests/integration_tests/test_every_family.py goes through all of them."""

from __future__ import annotations

import pytest
import torch

from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from tests.families.page import line, lines
from tests.families.tiny import random_model, tiny_config
from tests.families.verdict import judge
from tests.unit_tests.engine.tiny import embedding_prompt

ATTENTION = (
    "bloom",  # ALiBi
    "cohere2",
    "deepseek_v3",  # latent attention, experts
    "falcon",
    "gemma3_text",  # windows and none in turn
    "gpt_neox",
    "gpt_oss",  # attention sinks
    "llama4_text",  # chunked attention
    "mistral",  # windows
    "mpt",
    "olmo2",
    "opt",
    "phi3",
    "qwen3_moe",
    "smollm3",
)
HYBRIDS = ("bamba", "falcon_h1", "granitemoehybrid", "lfm2", "mamba2", "nemotron_h", "qwen3_next")
# Count positions by columns, so that rows of different lengths can't share them.
BY_COLUMNS = ("bart", "trocr")
REFUSED = ("gemma3n_text", "recurrent_gemma", "rwkv")


@pytest.mark.parametrize("family", ATTENTION + HYBRIDS + BY_COLUMNS + REFUSED)
def test_a_family_says_what_transformers_says_or_is_refused_as_the_docs_have_it(family: str) -> None:
    """Mixed batch and alone, read before or not, in chunks or at once, past the windows; and the choice is logged with its reason."""
    assert line(judge(family)) == lines()[family], "docs/models.md is out of date: python -m tests.families.page"


@pytest.mark.parametrize("family", ATTENTION)
def test_attention_models_are_served_in_slots(family: str) -> None:
    assert "| slotted |" in lines()[family]


def test_a_model_that_scales_its_embeddings_in_place_leaves_the_soft_prompt_as_it_is() -> None:
    """CTRL multiplies what it is given; a second request must find the soft prompt's rows unchanged."""
    model = FrozenModel.wrap(random_model(tiny_config("ctrl")), name="ctrl")
    prompt = embedding_prompt(5)
    rows = prompt.embedding_rows()
    assert rows is not None
    before = rows.clone()
    with Engine(model, EngineLimits(prefix_cache_bytes=0)) as engine:
        engine.submit([1, 2, 3], soft_prompt=prompt, settings=GenerationSettings(max_new_tokens=2)).result()
    compile_prefix(model, prompt)
    assert torch.equal(rows, before)
