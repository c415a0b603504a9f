"""Which families are shown a tree of continuations, and that all of them give the scores of their own plain forward."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.branches import Branches, attention_windows
from langchain_softprompt.frozen_model.choosing import reads_branches
from langchain_softprompt.frozen_model.passes import Passes, RowPart, TransformersPasses
from tests.families.tiny import random_model, tiny_config
from tests.unit_tests.engine.scored import LABELS, check_scores
from tests.unit_tests.engine.tiny import embedding_prompt, shared, tokens

SHOWN_A_TREE = ("cohere2", "deepseek_v3", "falcon", "gemma3_text", "gpt_neox", "gpt_oss", "olmo2", "opt", "phi3", "qwen3_moe", "smollm3")
# ALiBi by columns, windows by columns, chunks.
IN_TURN = ("bloom", "mpt", "gpt_neo", "llama4_text")
NATIVE = ("bamba", "granitemoehybrid", "mamba2", "bart")


@pytest.mark.parametrize("family", SHOWN_A_TREE + IN_TURN + NATIVE)
def test_a_family_gives_the_scores_of_its_own_plain_forward(family: str) -> None:
    """With a soft prompt and without, and longer than its windows."""
    model = FrozenModel.wrap(random_model(tiny_config(family)), name=family)
    assert model.reads_branches == (family in SHOWN_A_TREE)
    rows = embedding_prompt(7)
    prompts = [None, rows] if rows.embedding_rows().shape[1] == model.hidden_size else [None]  # type: ignore[union-attr]
    with Engine(model) as engine:
        for prompt in prompts:
            for length in (2, 40):
                ids = tokens(length, length)
                check_scores(engine.score(ids, LABELS, soft_prompt=prompt).result(), model, ids, LABELS, prompt)


class _Blind:
    """Passes that take a tree for a row."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self.reads_together = False

    def read(self, parts: list[RowPart]) -> object:
        return self._passes.read([replace(part, branches=None) for part in parts])


def test_passes_that_take_a_tree_for_a_row_are_found_out() -> None:
    model = shared("llama")
    assert reads_branches(model.model, model.passes)
    assert not reads_branches(model.model, _Blind(model.passes))  # type: ignore[arg-type]


def test_a_model_that_raises_at_a_tree_reads_in_turn() -> None:
    model = FrozenModel.wrap(random_model(tiny_config("bloom")), name="bloom")
    assert attention_windows(model.model.config) == {"": None}
    assert not reads_branches(model.model, TransformersPasses(model.model, is_plain=True))


@pytest.mark.parametrize(
    ("facts", "windows"),
    [
        ({}, {"": None}),
        ({"sliding_window": 8}, {"": 8}),
        ({"sliding_window": 8, "use_sliding_window": False}, None),
        ({"sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"]}, {"full_attention": None, "sliding_attention": 8}),
        ({"sliding_window": 8, "layer_types": ["full_attention"]}, {"full_attention": None}),
        ({"layer_types": ["chunked_attention"]}, None),
        ({"attention_chunk_size": 8}, None),
        ({"local_attention": 8}, None),
        ({"num_local_experts": 8, "chunk_size_feed_forward": 0}, {"": None}),
    ],
)
def test_how_far_layers_see_is_told_by_the_configuration_or_not_at_all(facts: dict[str, object], windows: object) -> None:
    class Config:
        def to_dict(self) -> dict[str, object]:
            return facts

    assert attention_windows(Config()) == windows


def test_a_mask_goes_by_positions_not_by_columns() -> None:
    """Two branches of two after three columns: the second branch stands where the first does."""
    seen = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 1]], dtype=torch.bool)
    mask = Branches(torch.tensor([3, 4, 3, 4]), seen).mask(2, torch.float32)
    expected = [[0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0], [0, 0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1, 1]]
    assert torch.equal(mask == 0, torch.tensor(expected, dtype=torch.bool))
    assert bool((mask[mask != 0] == -torch.inf).all())
