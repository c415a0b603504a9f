"""The fingerprint: one for each set of weights, however they are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.fingerprint import fingerprint
from langchain_softprompt.testing import save_tiny_model
from tests.tiny import CONTINUING, random_model

_LLAMA_PARAMETERS = [name for name, _ in random_model("Llama").named_parameters()]


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
def test_one_checkpoint_has_one_fingerprint_in_float32_and_bfloat16(tmp_path: Path, stored: torch.dtype) -> None:
    folder = save_tiny_model(tmp_path / "model")
    if stored == torch.bfloat16:
        FrozenModel.load(folder, dtype="bfloat16").model.save_pretrained(folder)
    prints = {FrozenModel.load(folder, dtype=dtype).fingerprint for dtype in ("float32", "bfloat16")}
    assert len(prints) == 1


def test_the_fingerprint_is_64_hexadecimal_characters_and_the_same_each_time() -> None:
    first, second = (fingerprint(random_model("Llama")) for _ in range(2))
    assert first == second
    assert len(first) == 64
    int(first, 16)


@pytest.mark.parametrize("name", _LLAMA_PARAMETERS)
def test_changing_any_one_parameter_changes_the_fingerprint(name: str) -> None:
    model = random_model("Llama")
    before = fingerprint(model)
    with torch.no_grad():
        model.get_parameter(name).mul_(1.05)
    assert fingerprint(model) != before


def test_a_step_of_training_on_one_layer_changes_the_fingerprint() -> None:
    model = random_model("Llama")
    before = fingerprint(model)
    layer = model.get_parameter("model.layers.1.mlp.up_proj.weight")
    optimizer = torch.optim.AdamW([layer], lr=1e-2)
    model(input_ids=torch.arange(9)[None], labels=torch.arange(9)[None]).loss.backward()
    optimizer.step()
    assert fingerprint(model) != before


def test_families_and_seeds_and_depths_have_fingerprints_of_their_own() -> None:
    models = [*(random_model(family) for family in CONTINUING), random_model("Llama", num_hidden_layers=1)]
    assert len({fingerprint(model) for model in models}) == len(models)


def test_weights_that_are_no_contiguous_tensor_have_the_fingerprint_of_their_values() -> None:
    model = random_model("Llama")
    before = fingerprint(model)
    weight = model.get_parameter("lm_head.weight")
    model.lm_head.weight = torch.nn.Parameter(weight.detach().t().contiguous().t())
    assert not model.lm_head.weight.is_contiguous()
    assert fingerprint(model) == before
