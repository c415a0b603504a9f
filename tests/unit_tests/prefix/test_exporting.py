"""A soft prompt exported as a cartridge gives in PEFT what the soft prompt itself gives: batch size 1, float32, difference at most 1e-5."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from langchain_softprompt.errors import InvalidSettingsError, InvalidSoftPromptError, ModelMismatchError, NonFiniteSoftPromptError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix, export_cartridge, exporting, record_probes, run_probes
from langchain_softprompt.soft_prompt import BaseModelRecord, EvaluationRecord, Manifest, SoftPrompt
from tests.families.tiny import random_model, tiny_config
from tests.unit_tests.soft_prompt.peft_folders import (
    HYBRID,
    KINDS,
    MODELS,
    VIRTUAL_TOKENS,
    WINDOW,
    frozen,
    logits_after,
    peft_logits,
    save_with_peft,
    task_of,
    text,
)

TOLERANCE = 1e-5
EFFECT = 1e-2  # how far the soft prompt must move the bare model's logits for a comparison to mean anything
HOLDS_KEY_VALUES = [kind for kind in KINDS if kind.startswith(("PREFIX", "CARTRIDGE"))]
HOLDS_EMBEDDINGS = [kind for kind in KINDS if kind not in HOLDS_KEY_VALUES]
TEXTS = [text(9, seed=1), text(6, seed=2)]


def _about(model: FrozenModel, **changes: object) -> Manifest:
    record = BaseModelRecord(id=model.name, fingerprint=model.fingerprint)
    facts = {"base_model": record, "method": "prompt-tuning", "description": "It counts.", "training": {"best_step": 7}, **changes}
    return Manifest.model_validate(facts)


def _loaded(folder: Path, kind: str, model: FrozenModel, manifest: Manifest | None = None) -> SoftPrompt:
    return replace(SoftPrompt.load(save_with_peft(folder, kind, model), task=task_of(kind)), manifest=manifest)


def _with_probes(model: FrozenModel, soft_prompt: SoftPrompt, **changes: object) -> SoftPrompt:
    probes = record_probes(model, compile_prefix(model, soft_prompt), [([], ids) for ids in TEXTS])
    return replace(soft_prompt, manifest=_about(model, probes=probes, **changes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", [family for family in MODELS if family != HYBRID])
def test_plain_peft_loads_the_cartridge_of_every_type_and_gives_the_logits_of_the_original(family: str, kind: str, tmp_path: Path) -> None:
    """At every position; on sliding-window models the text is longer than the window."""
    model = frozen(family)
    original = _loaded(tmp_path / "original", kind, model)
    expected = peft_logits(model, tmp_path / "original", text(), task_of(kind))

    folder = export_cartridge(model, original).save(tmp_path / "cartridge")

    found = peft_logits(model, folder, text())
    assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == "CARTRIDGE"
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    assert (found - logits_after(model, None, text())).abs().amax(dim=-1).min() > EFFECT


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
def test_a_cartridge_longer_than_the_sliding_window_gives_the_logits_of_the_original(family: str, tmp_path: Path) -> None:
    model = frozen(family)
    save_with_peft(tmp_path / "original", "PROMPT_TUNING", model, virtual_tokens=WINDOW + 3)
    folder = export_cartridge(model, SoftPrompt.load(tmp_path / "original")).save(tmp_path / "cartridge")
    expected = peft_logits(model, tmp_path / "original", text())
    torch.testing.assert_close(peft_logits(model, folder, text()), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_served_here_the_cartridge_is_the_original_exactly(kind: str, tmp_path: Path) -> None:
    model = frozen("llama")
    original = _loaded(tmp_path / "original", kind, model)
    read_again = SoftPrompt.load(export_cartridge(model, original).save(tmp_path / "cartridge"))
    before, after = compile_prefix(model, original), compile_prefix(model, read_again)
    assert torch.equal(before.stacked(), after.stacked())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "CARTRIDGE"])
def test_keys_and_values_are_exported_as_they_are_stored_whatever_the_models_dtype(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = frozen("llama", dtype=torch.bfloat16)
    original = _loaded(tmp_path, kind, frozen("llama"))
    stored = replace(original, tensors={"prompt_embeddings": original.tensors["prompt_embeddings"].to(dtype)})
    exported = export_cartridge(model, stored).tensors["prompt_embeddings"]
    assert exported.dtype == dtype
    assert torch.equal(exported, stored.tensors["prompt_embeddings"])


def test_embeddings_become_keys_and_values_in_the_models_dtype(tmp_path: Path) -> None:
    original = _loaded(tmp_path, "PROMPT_TUNING", frozen("llama"))
    exported = export_cartridge(frozen("llama", dtype=torch.bfloat16), original)
    assert exported.tensors["prompt_embeddings"].dtype == torch.bfloat16
    assert exported.manifest is not None
    assert exported.manifest.training["exported_dtype"] == "bfloat16"


def test_the_configuration_has_the_sizes_of_keys_and_values_and_the_original_base_model(tmp_path: Path) -> None:
    model = frozen("llama")
    original = _loaded(tmp_path, "PROMPT_TUNING", model)
    named = replace(original, config=original.config.model_copy(update={"base_model_name_or_path": "acme/base", "revision": "v2"}))
    config = export_cartridge(model, named).config
    assert (config.num_virtual_tokens, config.num_layers, config.num_attention_heads, config.token_dim) == (VIRTUAL_TOKENS, 3, 2, 32)
    assert (config.base_model_name_or_path, config.revision) == ("acme/base", "v2")
    nameless = replace(original, config=original.config.model_copy(update={"base_model_name_or_path": None}))
    assert export_cartridge(model, nameless).config.base_model_name_or_path == "tiny-llama"


def test_a_cartridges_frozen_tokens_are_kept(tmp_path: Path) -> None:
    model = frozen("llama")
    folder = export_cartridge(model, _loaded(tmp_path / "original", "CARTRIDGE", model)).save(tmp_path / "cartridge")
    assert json.loads((folder / "adapter_config.json").read_text())["num_frozen_tokens"] == 2
    assert isinstance(PeftModel.from_pretrained(model.model, str(folder)), PeftModel)


def test_the_manifest_is_kept_and_says_what_it_was_exported_from(tmp_path: Path) -> None:
    model = frozen("llama")
    original = _with_probes(model, _loaded(tmp_path / "original", "PROMPT_TUNING", model), scores={"validation_loss": 0.5})
    assert original.manifest is not None

    exported = SoftPrompt.load(export_cartridge(model, original).save(tmp_path / "cartridge"))

    assert exported.manifest is not None
    training = exported.manifest.training
    assert (training["exported_from"], training["exported_content_hash"]) == ("PROMPT_TUNING", original.content_hash)
    assert (training["exported_dtype"], training["best_step"]) == ("float32", 7)
    changed = {"training": original.manifest.training, "tensors_sha256": None}
    assert exported.manifest.model_copy(update=changed) == original.manifest


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "P_TUNING-MLP", "PREFIX_TUNING", "CARTRIDGE"])
def test_the_probes_of_the_original_hold_for_the_cartridge(kind: str, tmp_path: Path) -> None:
    model = frozen("llama")
    original = _with_probes(model, _loaded(tmp_path, kind, model))
    exported = export_cartridge(model, original)
    assert exported.manifest is not None
    assert exported.manifest.probes is not None
    report = run_probes(model, compile_prefix(model, exported), exported.manifest.probes)
    assert report.verdict == "same"
    assert report.largest < TOLERANCE


def test_a_folder_without_a_manifest_gets_one_that_names_the_model_its_keys_and_values_are_of(tmp_path: Path) -> None:
    model = frozen("llama")
    exported = export_cartridge(model, _loaded(tmp_path, "P_TUNING-MLP", model))
    assert exported.manifest is not None
    assert exported.manifest.base_model.fingerprint == model.fingerprint
    assert exported.manifest.method == "imported"
    assert exported.manifest.training["exported_from"] == "P_TUNING"
    with pytest.raises(ModelMismatchError, match="fingerprint"):
        compile_prefix(frozen("llama", seed=8), exported)


def test_exporting_a_cartridge_again_changes_nothing(tmp_path: Path) -> None:
    model = frozen("llama")
    once = export_cartridge(model, _with_probes(model, _loaded(tmp_path, "PROMPT_TUNING", model)))
    twice = export_cartridge(model, once)
    assert twice.content_hash == once.content_hash
    assert (twice.config, twice.manifest) == (once.config, once.manifest)


def test_one_task_of_a_multitask_prompt_is_exported_and_named_and_scores_of_who_knows_which_are_not(tmp_path: Path) -> None:
    model = frozen("llama")
    judged = EvaluationRecord(data="a" * 64, rows=3, target="label", scores={"exact_match": 0.5})
    loaded = _loaded(tmp_path, "MULTITASK_PROMPT_TUNING", model)
    about = {"tasks": ["add", "count", "sort"], "scores": {"exact_match": 0.5}, "evaluation": judged}
    original = _with_probes(model, loaded, **about)
    exported = export_cartridge(model, original)
    assert exported.manifest is not None
    assert exported.manifest.training["exported_task"] == "count"
    assert exported.manifest.probes is not None
    assert (exported.manifest.tasks, exported.manifest.scores, exported.manifest.evaluation) == ([], {}, None)
    assert exported.task is None

    of_another_task = export_cartridge(model, replace(original, task=2))
    assert of_another_task.manifest is not None
    assert (of_another_task.manifest.training["exported_task"], of_another_task.manifest.probes) == ("sort", None)

    nameless = export_cartridge(model, replace(original, manifest=None))
    assert nameless.manifest is not None
    assert nameless.manifest.training["exported_task"] == 1


def test_a_soft_prompt_made_for_another_model_is_refused(tmp_path: Path) -> None:
    model, other = frozen("llama"), frozen("llama", seed=8)
    original = _loaded(tmp_path, "PROMPT_TUNING", model, _about(model))
    with pytest.raises(ModelMismatchError, match=r"fingerprint.*--allow-other-model"):
        export_cartridge(other, original)
    with pytest.raises(ModelMismatchError, match="hidden size is 32"):
        export_cartridge(_of_width(48), replace(original, manifest=None))


def test_by_opt_in_it_becomes_the_other_models_and_nothing_measured_stays(tmp_path: Path) -> None:
    model, other = frozen("llama"), frozen("llama", seed=8)
    original = _with_probes(model, _loaded(tmp_path / "original", "PROMPT_TUNING", model), scores={"validation_loss": 0.5})
    exported = export_cartridge(other, original, allow_other_model=True)
    assert exported.manifest is not None
    assert exported.manifest.base_model.fingerprint == other.fingerprint
    assert (exported.manifest.probes, exported.manifest.scores) == (None, {})
    assert exported.manifest.description == "It counts."
    assert exported.config.base_model_name_or_path == other.name
    expected = peft_logits(other, tmp_path / "original", text())
    found = peft_logits(other, exported.save(tmp_path / "cartridge"), text())
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


def test_keys_and_values_stay_those_of_the_model_they_were_made_for(tmp_path: Path) -> None:
    model, other = frozen("llama"), frozen("llama", seed=8)
    original = _with_probes(model, _loaded(tmp_path, "PREFIX_TUNING", model))
    exported = export_cartridge(other, original, allow_other_model=True)
    assert exported.manifest is not None
    assert exported.manifest.base_model.fingerprint == model.fingerprint
    assert exported.manifest.probes is not None


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING"])
def test_a_model_that_cant_continue_from_a_prefix_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    """PEFT itself fails to start from keys and values there."""
    model = frozen(HYBRID)
    with pytest.raises(ModelMismatchError, match="tiny-lfm2 can't continue from keys and values"):
        export_cartridge(model, _loaded(tmp_path, kind, model))


def test_a_quantized_model_is_refused_for_embeddings_as_its_rounding_would_stay(tmp_path: Path) -> None:
    original = _loaded(tmp_path, "PROMPT_TUNING", frozen("llama"))
    quantized = FrozenModel.wrap(frozen.__wrapped__("llama").model, name="tiny")
    quantized.quantization = "int8"
    with pytest.raises(InvalidSettingsError, match=r"tiny is quantized \(int8\).*Load it without quantization"):
        export_cartridge(quantized, original)


def test_keys_and_values_of_different_shapes_are_refused_as_pefts_format_has_one(tmp_path: Path) -> None:
    """Latent attention: the keys of DeepSeek's layers are longer than the values."""
    model = FrozenModel.wrap(random_model(tiny_config("deepseek_v3")), name="latent")
    with pytest.raises(ModelMismatchError, match=r"latent hold keys and values of different shapes.*Share the soft prompt as it is"):
        export_cartridge(model, _loaded(tmp_path, "PROMPT_TUNING", model))


def test_more_than_is_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = frozen("llama")
    original = _loaded(tmp_path, "PROMPT_TUNING", model)
    monkeypatch.setattr(exporting, "MAX_TENSOR_BYTES", 5000)
    with pytest.raises(InvalidSettingsError, match=r"3840 bytes in float32, and at most 5000 are read.*dtype='bfloat16'"):
        export_cartridge(model, original)


def test_numbers_that_overflow_inside_the_model_are_refused(tmp_path: Path) -> None:
    model = frozen("llama", dtype=torch.float16)
    original = _loaded(tmp_path, "PROMPT_TUNING", frozen("llama"))
    huge = replace(original, tensors={"prompt_embeddings": torch.full((VIRTUAL_TOKENS, 32), 1e30)})
    with pytest.raises(NonFiniteSoftPromptError):
        export_cartridge(model, huge)


def test_a_manifest_that_has_no_room_for_more_facts_is_refused_before_it_is_written(tmp_path: Path) -> None:
    model = frozen("llama")
    full = _about(model, training={str(number): number for number in range(1000)})
    with pytest.raises(InvalidSoftPromptError, match="training"):
        export_cartridge(model, _loaded(tmp_path, "PROMPT_TUNING", model, full))


def _of_width(hidden: int) -> FrozenModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": hidden, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    return FrozenModel.wrap(LlamaForCausalLM(LlamaConfig(vocab_size=96, head_dim=16, **sizes)), name="wide")
