"""What is loaded, saved and loaded again is the same soft prompt, for this package and for plain PEFT."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from langchain_softprompt.errors import InvalidSoftPromptError
from langchain_softprompt.prefix import TokenIds, compile_prefix, compile_segments
from langchain_softprompt.soft_prompt import BaseModelRecord, DataRecord, Manifest, SoftPrompt, TemplateMessage
from langchain_softprompt.soft_prompt.peft_format import PrefixTuning
from tests.unit_tests.soft_prompt.peft_folders import (
    KINDS,
    TASKS,
    frozen,
    logits_after,
    logits_at_once,
    peft_logits,
    save_with_peft,
    task_of,
    text,
)

TOLERANCE = 1e-5
FILES = ["adapter_config.json", "adapter_model.safetensors"]


def manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "description": "Cleans a question — ünïcode ✓",
        "base_model": BaseModelRecord(id="tiny-llama", fingerprint=frozen("llama").fingerprint),
        "method": "test",
        "hard_prompt": [TemplateMessage(role="system", template="Be {how}.")],
        "tasks": [f"task {number}" for number in range(TASKS)],
        "training": {"steps": 3, "rate": 0.5, "note": None, "kept": True},
        "seeds": [1, 2],
        "data": DataRecord(digest="a" * 64, rows=3, validation_rows=1),
        "scores": {"exact": 0.5},
    }
    return Manifest(**{**fields, **changes})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("with_manifest", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_soft_prompt_loads_in_plain_peft_with_equal_logits(kind: str, with_manifest: bool, tmp_path: Path) -> None:
    model, task = frozen("llama"), task_of(kind)
    save_with_peft(tmp_path / "peft", kind, model)
    expected = peft_logits(model, tmp_path / "peft", text(), task)
    loaded = SoftPrompt.load(tmp_path / "peft", task=task)
    if with_manifest:
        loaded = replace(loaded, manifest=manifest())

    folder = loaded.save(tmp_path / "ours")

    assert names(folder) == FILES + ["soft_prompt.json"] * with_manifest
    torch.testing.assert_close(peft_logits(model, folder, text(), task), expected, atol=0, rtol=0)
    again = SoftPrompt.load(folder, task=task)
    assert again.config == loaded.config
    assert again.content_hash == loaded.content_hash
    torch.testing.assert_close(logits_after(model, compile_prefix(model, again), text()), expected, atol=TOLERANCE, rtol=0)
    if with_manifest:
        assert again.manifest is not None
        assert again.manifest.tensors_sha256 is not None
        assert again.manifest.model_copy(update={"tensors_sha256": None}) == manifest()


def test_the_tasks_of_a_multitask_prompt_are_chosen_by_name_too(tmp_path: Path) -> None:
    save_with_peft(tmp_path, "MULTITASK_PROMPT_TUNING", frozen("llama"))
    replace(SoftPrompt.load(tmp_path, task=0), manifest=manifest()).save(tmp_path)
    assert SoftPrompt.load(tmp_path, task="task 2").task == 2
    with pytest.raises(InvalidSoftPromptError, match="a name among task 0, task 1, task 2, found 'task 3'"):
        SoftPrompt.load(tmp_path, task="task 3")


def test_the_tensor_file_is_what_was_loaded_bit_by_bit(tmp_path: Path) -> None:
    save_with_peft(tmp_path / "peft", "PROMPT_TUNING", frozen("llama"))
    SoftPrompt.load(tmp_path / "peft").save(tmp_path / "ours")
    before, after = (load_file(tmp_path / place / FILES[1])["prompt_embeddings"] for place in ("peft", "ours"))
    assert torch.equal(before, after)
    assert before.dtype == after.dtype


def test_saving_over_another_soft_prompt_leaves_nothing_of_it(tmp_path: Path) -> None:
    """A manifest left behind would refuse the new tensors, or describe the wrong soft prompt."""
    model = frozen("llama")
    save_with_peft(tmp_path / "first", "P_TUNING-LSTM", model)
    save_with_peft(tmp_path / "second", "CARTRIDGE", model)
    replace(SoftPrompt.load(tmp_path / "first"), manifest=manifest()).save(tmp_path / "ours")
    second = SoftPrompt.load(tmp_path / "second")
    second.save(tmp_path / "ours")
    assert names(tmp_path / "ours") == FILES
    again = SoftPrompt.load(tmp_path / "ours")
    assert (again.kind, again.content_hash, again.manifest) == ("CARTRIDGE", second.content_hash, None)
    assert torch.equal(peft_logits(model, tmp_path / "ours", text()), peft_logits(model, tmp_path / "second", text()))


def test_saving_replaces_links_and_never_writes_through_them(tmp_path: Path) -> None:
    """A snapshot in the Hub cache consists of links to files that other snapshots share."""
    model = frozen("llama")
    save_with_peft(tmp_path / "peft", "PROMPT_TUNING", model)
    shared, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    for folder in (shared, snapshot):
        folder.mkdir()
    for name in FILES:
        (shared / name).write_text("shared")
        (snapshot / name).symlink_to(shared / name)
    SoftPrompt.load(tmp_path / "peft").save(snapshot)
    assert [(shared / name).read_text() for name in FILES] == ["shared", "shared"]
    assert SoftPrompt.load(snapshot).kind == "PROMPT_TUNING"


def test_a_compiled_prefix_published_as_half_precision_prefix_tuning_loads_in_peft(tmp_path: Path) -> None:
    """This is what training saves: the keys and values of a hard prompt, in float16."""
    model = frozen("llama")
    compiled = compile_segments(model, [TokenIds(text(6, seed=3))])
    stored = torch.stack([torch.stack(layer) for layer in compiled.layers]).permute(3, 0, 1, 2, 4).to(torch.float16)
    virtual, layers, _, heads, dim = stored.shape
    config = PrefixTuning(
        peft_type="PREFIX_TUNING",
        task_type="CAUSAL_LM",
        num_virtual_tokens=virtual,
        num_layers=layers,
        num_attention_heads=heads,
        token_dim=heads * dim,
    )
    folder = SoftPrompt(config, {"prompt_embeddings": stored.reshape(virtual, -1)}, manifest=manifest()).save(tmp_path)

    expected = peft_logits(model, folder, text())

    prefix = compile_prefix(model, SoftPrompt.load(folder))
    torch.testing.assert_close(logits_after(model, prefix, text()), expected, atol=TOLERANCE, rtol=0)
    hard = logits_at_once(model, None, text(6, seed=3) + text())
    torch.testing.assert_close(expected[-1], hard, atol=2e-2, rtol=0)  # what float16 storage costs here


def test_tensors_that_are_not_contiguous_are_saved_and_compiled_as_they_read(tmp_path: Path) -> None:
    model = frozen("llama")
    save_with_peft(tmp_path, "PREFIX_TUNING", model)
    loaded = SoftPrompt.load(tmp_path)
    turned = loaded.tensors["prompt_embeddings"].t().contiguous().t()
    assert not turned.is_contiguous()
    strided = replace(loaded, tensors={"prompt_embeddings": turned})
    assert strided.content_hash == loaded.content_hash
    assert torch.equal(
        logits_after(model, compile_prefix(model, strided), text()), logits_after(model, compile_prefix(model, loaded), text())
    )
    assert SoftPrompt.load(strided.save(tmp_path / "again")).content_hash == loaded.content_hash


def test_a_manifest_whose_tensors_were_exchanged_is_refused(tmp_path: Path) -> None:
    model = frozen("llama")
    save_with_peft(tmp_path / "peft", "PROMPT_TUNING", model)
    replace(SoftPrompt.load(tmp_path / "peft"), manifest=manifest()).save(tmp_path / "ours")
    recorded = json.loads((tmp_path / "ours" / "soft_prompt.json").read_text(encoding="utf-8"))["tensors_sha256"]
    save_with_peft(tmp_path / "other", "PROMPT_TUNING", model, seed=1)
    (tmp_path / "ours" / FILES[1]).write_bytes((tmp_path / "other" / FILES[1]).read_bytes())
    with pytest.raises(InvalidSoftPromptError) as caught:
        SoftPrompt.load(tmp_path / "ours")
    assert (caught.value.file, caught.value.field) == (FILES[1], "sha256")
    assert recorded in caught.value.expected
    assert len(caught.value.found) == 64
