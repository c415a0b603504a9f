"""Segments become a KVPrefix: token ids and embedding rows by a pass of the frozen model, keys and values as they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from langchain_softprompt.errors import InvalidSoftPromptError, ModelMismatchError, NonFiniteSoftPromptError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix.kv_prefix import KVPrefix, cache_tensors
from langchain_softprompt.prefix.probe_watch import watch_drift
from langchain_softprompt.printable import printable
from langchain_softprompt.soft_prompt import SoftPrompt

logger = logging.getLogger(__name__)

_WEIGHTS = "adapter_model.safetensors"
_PROBE_TOKENS = 8


@dataclass(frozen=True, eq=False, slots=True)
class TokenIds:
    """Text, as token ids."""

    ids: Sequence[int]


@dataclass(frozen=True, eq=False, slots=True)
class EmbeddingRows:
    """Rows in the space of the token embeddings, ``[length, hidden_size]``."""

    rows: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class KeyValues:
    """Ready keys (positions already applied) and values, ``[length, num_layers, 2, kv_heads, head_dim]``."""

    tensor: Tensor


Segment = TokenIds | EmbeddingRows | KeyValues


def compile_prefix(model: FrozenModel, soft_prompt: SoftPrompt, *, allow_other_model: bool = False) -> KVPrefix:
    """Compile a soft prompt for a frozen model.

    The first time this process compiles it for this model, its recorded probes are read, and a warning is logged when it
    has drifted.

    Args:
        model: The frozen model.
        soft_prompt: The soft prompt.
        allow_other_model: Accept one that was made for another model, with a warning, as long as its shapes fit.

    Raises:
        ModelMismatchError: It was made for another model, or its shapes or its length don't fit this one.
        NonFiniteSoftPromptError: Its numbers overflow in the model's dtype or inside the model.
    """
    prefix = compile_segments(model, [soft_segment(model, soft_prompt, allow_other_model=allow_other_model)])
    _check_answers(model, prefix)
    watch_drift(model, soft_prompt, lambda: prefix)
    return prefix


def soft_segment(model: FrozenModel, soft_prompt: SoftPrompt, *, allow_other_model: bool = False) -> EmbeddingRows | KeyValues:
    """What of a soft prompt the model reads, or starts from, once everything that can be checked without a pass is.

    Raises:
        ModelMismatchError: It was made for another model, or its shapes or its length don't fit this one.
        NonFiniteSoftPromptError: Its numbers overflow in the model's dtype.
    """
    check_fingerprint(soft_prompt, model.name, model.fingerprint, allow_other_model=allow_other_model)
    _check_length(model, soft_prompt.num_virtual_tokens)
    rows, key_values = soft_prompt.embedding_rows(), soft_prompt.key_values()
    if rows is not None:
        return EmbeddingRows(_embeddings(model, EmbeddingRows(rows)))
    if key_values is not None:
        return KeyValues(key_values)
    msg = f"a soft prompt of type {soft_prompt.kind} holds neither embeddings nor keys and values"
    raise TypeError(msg)


@torch.inference_mode()
def compile_segments(model: FrozenModel, segments: Sequence[Segment]) -> KVPrefix:
    """Compile segments, in order, to one prefix.

    Raises:
        ModelMismatchError: A segment's shape does not fit the model.
        NonFiniteSoftPromptError: A segment overflows in the model's dtype, or the model makes NaN or Inf of it.
        InvalidSoftPromptError: Ready keys and values stand after another segment: their positions are fixed at 0.
    """
    if not model.reuses_prefix:
        return _without_slots(model, segments)
    cache: Cache = DynamicCache()
    length = 0
    for segment in segments:
        if isinstance(segment, KeyValues):
            if length:
                raise InvalidSoftPromptError(
                    file=_WEIGHTS, field="position", expected="keys and values at the start", found=f"{length} tokens before them"
                )
            cache = DynamicCache(_checked_key_values(model, segment.tensor))
            length = segment.tensor.shape[0]
        else:
            embeds = _embeddings(model, segment)
            model.forward(inputs_embeds=embeds[None], cache=cache, past_length=length)
            length += embeds.shape[0]
    grown: list[Any] = cache.layers
    prefix = KVPrefix(length, tuple((layer.keys[0].contiguous(), layer.values[0].contiguous()) for layer in grown))
    check_finite(prefix)
    return prefix


def check_finite(prefix: KVPrefix) -> None:
    """Refuse a compiled prefix that holds NaN or Inf.

    Raises:
        NonFiniteSoftPromptError: It does.
    """
    tensors = [tensor for layer in prefix.layers for tensor in layer] + list(cache_tensors(prefix.snapshot))
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise NonFiniteSoftPromptError(
            file=_WEIGHTS, field="prompt_embeddings", expected="finite keys and values", found="NaN or Inf once the model has read it"
        )


def _without_slots(model: FrozenModel, segments: Sequence[Segment]) -> KVPrefix:
    rows = []
    for segment in segments:
        if isinstance(segment, KeyValues):
            msg = (
                f"{model.name} can't continue from keys and values (its load-time self-test failed). Use a soft prompt made of embeddings."
            )
            raise ModelMismatchError(msg, expected="a model whose cache can start from a prefix", found=type(model.model).__name__)
        rows.append(_embeddings(model, segment))
    embeddings = torch.cat(rows)
    length = embeddings.shape[0]
    if not model.snapshots_prefix:
        return KVPrefix(length, embeddings=embeddings)
    cache = model.new_cache()
    model.forward(inputs_embeds=embeddings[None], cache=cache, past_length=0)
    prefix = KVPrefix(length, snapshot=cache)
    check_finite(prefix)
    return prefix


def _embeddings(model: FrozenModel, segment: TokenIds | EmbeddingRows) -> Tensor:
    if isinstance(segment, TokenIds):
        return model.embed(torch.tensor(list(segment.ids), dtype=torch.long, device=model.device))
    if segment.rows.shape[1] != model.hidden_size:
        raise _shape_mismatch(model, "hidden size", str(segment.rows.shape[1]), str(model.hidden_size))
    return _cast(model, segment.rows)


def _checked_key_values(model: FrozenModel, tensor: Tensor) -> list[tuple[Tensor, Tensor]]:
    if tensor.shape[1] != model.num_layers:
        raise _shape_mismatch(model, "number of layers", str(tensor.shape[1]), str(model.num_layers))
    for index, (heads, key_dim, value_dim) in enumerate(model.key_value_shapes):
        if (heads, key_dim) != tuple(tensor.shape[3:]) or key_dim != value_dim:
            have = f"{tensor.shape[3]} heads of {tensor.shape[4]}"
            here = f"{heads} heads of {key_dim}" + (f" (values {value_dim})" if key_dim != value_dim else "")
            raise _shape_mismatch(model, f"key-value shape in layer {index}", have, here)
    by_layer = _cast(model, tensor).permute(1, 2, 3, 0, 4)  # layers, key or value, heads, length, dim
    return [(layer[0][None].contiguous(), layer[1][None].contiguous()) for layer in by_layer]


def _cast(model: FrozenModel, tensor: Tensor) -> Tensor:
    cast = tensor.to(device=model.device, dtype=model.dtype)
    if not bool(torch.isfinite(cast).all()):
        dtype = str(model.dtype).removeprefix("torch.")
        raise NonFiniteSoftPromptError(
            file=_WEIGHTS,
            field="prompt_embeddings",
            expected=f"numbers that fit {dtype}",
            found=f"{float(tensor.abs().max()):.3g}, which becomes Inf in {dtype}",
            hint="Load the frozen model with dtype='float32'.",
        )
    return cast


@torch.inference_mode()
def _check_answers(model: FrozenModel, prefix: KVPrefix) -> None:
    """Huge finite numbers overflow only once text attends to them. A few tokens find that here, before any request."""
    room = _PROBE_TOKENS if model.max_positions is None else min(_PROBE_TOKENS, model.max_positions - prefix.length)
    embeds = model.embed(torch.linspace(0, model.vocab_size - 1, room, device=model.device).long())
    past = prefix.length
    if prefix.embeddings is not None:
        embeds, past = torch.cat([prefix.embeddings, embeds]), 0
    logits = model.forward(inputs_embeds=embeds[None], cache=prefix.to_cache(model), past_length=past)
    if not bool(torch.isfinite(logits).all()):
        raise non_finite_answers()


def non_finite_answers() -> NonFiniteSoftPromptError:
    """What to say of a soft prompt that turns the logits of the text after it to NaN or Inf."""
    return NonFiniteSoftPromptError(
        file=_WEIGHTS, field="prompt_embeddings", expected="finite logits after it", found="NaN or Inf once text follows it"
    )


def _check_length(model: FrozenModel, length: int) -> None:
    if model.max_positions is not None and length >= model.max_positions:
        msg = (
            f"The soft prompt's {length} virtual tokens leave no room for text in the {model.max_positions} positions of "
            f"{model.name}. Use a shorter soft prompt, or a model with a longer context."
        )
        raise ModelMismatchError(msg, expected=f"more than {length} positions", found=f"{model.max_positions} positions")


def _shape_mismatch(model: FrozenModel, what: str, made_for: str, here: str) -> ModelMismatchError:
    msg = f"The soft prompt's {what} is {made_for}, that of {model.name} is {here}. It was made for another model; load that one."
    return ModelMismatchError(msg, expected=f"{what} {made_for}", found=f"{what} {here}")


def check_fingerprint(soft_prompt: SoftPrompt, name: str, fingerprint: str, *, allow_other_model: bool) -> None:
    """Refuse a soft prompt whose manifest names another model.

    Args:
        soft_prompt: The soft prompt; one without a manifest passes.
        name: What the model at hand is called.
        fingerprint: What identifies it.
        allow_other_model: Warn in place of refusing.

    Raises:
        ModelMismatchError: It was made for another model.
    """
    if soft_prompt.manifest is None:
        return
    made_for = soft_prompt.manifest.base_model
    if made_for.fingerprint == fingerprint:
        return
    msg = (
        f"The soft prompt {printable(soft_prompt.source)} was made for {printable(made_for.id)} (fingerprint {made_for.fingerprint}), "
        f"and this model is {name} (fingerprint {fingerprint})."
    )
    if not allow_other_model:
        msg += " Load the model it was made for, or pass allow_other_model=True (--allow-other-model) to try it all the same."
        raise ModelMismatchError(msg, expected=made_for.fingerprint, found=fingerprint)
    logger.warning("%s Its answers on this model are untested.", msg)
