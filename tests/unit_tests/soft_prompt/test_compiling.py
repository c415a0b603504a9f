"""Compiling checks that a soft prompt fits the model, and segments compile to what one pass over them gives."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from langchain_softprompt.errors import InvalidSoftPromptError, ModelMismatchError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import EmbeddingRows, KeyValues, TokenIds, compile_prefix, compile_segments
from langchain_softprompt.soft_prompt import BaseModelRecord, Manifest, SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import PrefixTuning, PromptTuning
from tests.unit_tests.soft_prompt.peft_folders import HIDDEN, HYBRID, LAYERS, MODELS, frozen, logits_after, logits_at_once, text

TOLERANCE = 1e-5
HEADS, DIM = 2, 16  # of the tiny Llama's keys and values


def rows(count: int = 4, hidden: int = HIDDEN, *, made_for: str | None = None) -> SoftPrompt:
    """A soft prompt of embeddings."""
    config = PromptTuning(peft_type="PROMPT_TUNING", task_type="CAUSAL_LM", num_virtual_tokens=count, token_dim=hidden)
    numbers = torch.randn(count, hidden, generator=torch.Generator().manual_seed(1))
    return SoftPrompt(config, {"prompt_embeddings": numbers}, manifest=_manifest(made_for), source="acme/prompt")


def key_values(layers: int = LAYERS, heads: int = HEADS, dim: int = DIM, count: int = 4, *, made_for: str | None = None) -> SoftPrompt:
    """A soft prompt of keys and values."""
    config = PrefixTuning(
        peft_type="PREFIX_TUNING",
        task_type="CAUSAL_LM",
        num_virtual_tokens=count,
        num_layers=layers,
        num_attention_heads=heads,
        token_dim=heads * dim,
    )
    numbers = torch.randn(count, layers * 2 * heads * dim, generator=torch.Generator().manual_seed(1))
    return SoftPrompt(config, {"prompt_embeddings": numbers}, manifest=_manifest(made_for), source="acme/prompt")


def _manifest(made_for: str | None) -> Manifest | None:
    return Manifest(base_model=BaseModelRecord(id="acme/base", fingerprint=made_for), method="test") if made_for else None


def test_a_soft_prompt_made_for_this_model_compiles_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    model = frozen("llama")
    assert compile_prefix(model, rows(made_for=model.fingerprint)).length == 4
    assert not caplog.records


def test_a_soft_prompt_made_for_another_model_is_refused_with_both_fingerprints() -> None:
    model, other = frozen("llama"), "b" * 64
    with pytest.raises(ModelMismatchError) as caught:
        compile_prefix(model, rows(made_for=other))
    message = str(caught.value)
    assert (caught.value.expected, caught.value.found) == (other, model.fingerprint)
    for part in (other, model.fingerprint, "acme/base", "acme/prompt", "tiny-llama", "allow_other_model=True"):
        assert part in message


def test_weights_that_differ_in_one_layer_are_another_model() -> None:
    changed = FrozenModel.wrap(frozen.__wrapped__("llama").model)
    with torch.no_grad():
        changed.model.model.layers[1].mlp.up_proj.weight.mul_(1.5)
    with pytest.raises(ModelMismatchError, match="fingerprint"):
        compile_prefix(changed, rows(made_for=frozen("llama").fingerprint))


def test_by_opt_in_another_models_soft_prompt_compiles_with_a_warning_where_its_shapes_fit(caplog: pytest.LogCaptureFixture) -> None:
    model, other = frozen("llama"), "b" * 64
    with caplog.at_level(logging.WARNING, "langchain_softprompt"):
        prefix = compile_prefix(model, key_values(made_for=other), allow_other_model=True)
    assert torch.equal(prefix.layers[0][0], compile_prefix(model, key_values()).layers[0][0])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert other in record.getMessage()
    assert model.fingerprint in record.getMessage()


@pytest.mark.parametrize("opt_in", [False, True])
@pytest.mark.parametrize(
    ("soft_prompt", "made_for", "here"),
    [
        (rows(hidden=HIDDEN + 1), "hidden size is 33", "is 32"),
        (key_values(layers=LAYERS + 1), "number of layers is 4", "is 3"),
        (key_values(heads=4, dim=8), "key-value shape in layer 0 is 4 heads of 8", "is 2 heads of 16"),
        (key_values(heads=1), "key-value shape in layer 0 is 1 heads of 16", "is 2 heads of 16"),
        (key_values(dim=8), "key-value shape in layer 0 is 2 heads of 8", "is 2 heads of 16"),
    ],
    ids=["hidden size", "layers", "heads and size", "heads", "size"],
)
def test_a_shape_that_does_not_fit_is_refused_by_name_with_and_without_opt_in(
    soft_prompt: SoftPrompt, made_for: str, here: str, opt_in: bool
) -> None:
    """PEFT loads each of these without a word."""
    with pytest.raises(ModelMismatchError) as caught:
        compile_prefix(frozen("llama"), soft_prompt, allow_other_model=opt_in)
    assert f"The soft prompt's {made_for}, that of tiny-llama {here}." in str(caught.value)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("make", [rows, key_values])
def test_a_soft_prompt_as_long_as_the_models_context_is_refused(make: object, family: str) -> None:
    """Beyond its last position GPT-2 would fail with an index error, and Llama would talk nonsense."""
    model = frozen(family)
    shape = model.key_value_shapes[0][:2] if make is key_values else ()
    long = rows(64) if make is rows else key_values(LAYERS, *shape, count=64)
    with pytest.raises(ModelMismatchError, match=f"64 virtual tokens leave no room for text in the 64 positions of tiny-{family}"):
        compile_prefix(model, long)
    almost = rows(63) if make is rows else key_values(LAYERS, *shape, count=63)
    assert compile_prefix(model, almost).length == 63


@pytest.mark.parametrize("family", [family for family in MODELS if family != HYBRID])
def test_token_ids_compile_to_the_prefix_that_one_pass_over_head_and_text_reads(family: str) -> None:
    model = frozen(family)
    head, rest = text(9, seed=1), text(9, seed=2)
    prefix = compile_segments(model, [TokenIds(head)])
    whole = logits_at_once(model, None, head + rest)
    torch.testing.assert_close(logits_at_once(model, prefix, rest), whole, atol=TOLERANCE, rtol=0)
    assert (logits_at_once(model, None, rest) - whole).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_segments_in_a_row_compile_to_one_prefix(family: str) -> None:
    """Soft prompt, then the head of the text, is the soft prompt's prefix with more text read."""
    model = frozen(family)
    head, rest = text(6, seed=1), text(6, seed=2)
    for soft_prompt in (rows(), key_values(LAYERS, *model.key_value_shapes[0][:2])):
        alone = compile_prefix(model, soft_prompt)
        expected = logits_at_once(model, alone, head + rest)
        embeddings, ready = soft_prompt.embedding_rows(), soft_prompt.key_values()
        segment = KeyValues(ready) if embeddings is None else EmbeddingRows(embeddings)
        prefix = compile_segments(model, [segment, TokenIds(head[:2]), TokenIds(head[2:])])
        assert prefix.length == 4 + 6
        torch.testing.assert_close(logits_at_once(model, prefix, rest), expected, atol=TOLERANCE, rtol=0)


def test_embeddings_may_stand_inside_the_text() -> None:
    model = frozen("llama")
    embeddings = rows().embedding_rows()
    prefix = compile_segments(model, [TokenIds(text(3, seed=1)), EmbeddingRows(embeddings), TokenIds(text(3, seed=2))])
    parts = [model.embed(torch.tensor(text(3, seed=1))), embeddings, model.embed(torch.tensor([*text(3, seed=2), *text(4)]))]
    whole = model.forward(inputs_embeds=torch.cat(parts)[None], cache=model.new_cache(), past_length=0)
    torch.testing.assert_close(logits_at_once(model, prefix, text(4)), whole, atol=TOLERANCE, rtol=0)


def test_keys_and_values_after_another_segment_are_refused_because_their_positions_are_fixed() -> None:
    ready = key_values().key_values()
    with pytest.raises(InvalidSoftPromptError, match="position: expected keys and values at the start, found 3 tokens before them"):
        compile_segments(frozen("llama"), [TokenIds([1, 2, 3]), KeyValues(ready)])


@pytest.mark.parametrize("make", [rows, key_values])
def test_reading_text_after_a_prefix_leaves_the_prefix_as_it_was(make: object) -> None:
    model = frozen("llama")
    prefix = compile_prefix(model, rows() if make is rows else key_values())
    before = [tensor.clone() for layer in prefix.layers for tensor in layer]
    first = logits_after(model, prefix, text())
    assert torch.equal(logits_after(model, prefix, text()), first)
    assert all(torch.equal(old, new) for old, new in zip(before, [t for layer in prefix.layers for t in layer], strict=True))


def test_the_tensors_of_a_soft_prompt_are_not_the_prefixs_own() -> None:
    """Whoever changes a soft prompt's tensors later doesn't change what is being served."""
    soft_prompt = key_values()
    prefix = compile_prefix(frozen("llama"), soft_prompt)
    before = prefix.layers[0][0].clone()
    soft_prompt.tensors["prompt_embeddings"].zero_()
    assert torch.equal(prefix.layers[0][0], before)


def test_the_content_hash_tells_apart_what_has_another_effect(tmp_path: Path) -> None:
    """Another task, number, type, dtype or layout; the same content under another name is the same."""
    plain, ready = rows(), key_values()
    changed = {name: tensor.clone() for name, tensor in plain.tensors.items()}
    changed["prompt_embeddings"][0, 0] += 1
    others = [
        plain,
        ready,
        replace(plain, tensors=changed),
        replace(plain, config=plain.config.model_copy(update={"peft_type": "P_TUNING"})),
        replace(plain, task=1),
        replace(plain, task=2),
        replace(plain, tensors={"prompt_embeddings": plain.tensors["prompt_embeddings"].to(torch.bfloat16)}),
        replace(ready, config=ready.config.model_copy(update={"num_attention_heads": 4})),
        replace(ready, config=ready.config.model_copy(update={"num_layers": 1, "token_dim": LAYERS * HEADS * DIM})),
    ]
    hashes = [other.content_hash for other in others]
    assert len(set(hashes)) == len(hashes)
    assert all(len(bytes.fromhex(digest)) == 32 for digest in hashes)
    assert plain.with_source("elsewhere", "c" * 40).content_hash == plain.content_hash
    assert SoftPrompt.load(plain.save(tmp_path)).content_hash == plain.content_hash
