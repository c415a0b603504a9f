"""Any soft prompt as keys and values that plain PEFT loads: a folder of type ``CARTRIDGE``."""

from __future__ import annotations

import datetime
from typing import Any

from torch import Tensor

from langchain_softprompt.errors import InvalidSettingsError, ModelMismatchError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.hub.integrity import MAX_TENSOR_BYTES
from langchain_softprompt.prefix.compiling import compile_prefix
from langchain_softprompt.prefix.kv_prefix import KVPrefix
from langchain_softprompt.prefix.probes import run_probes
from langchain_softprompt.soft_prompt import BaseModelRecord, Manifest, ProbesRecord, SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import EMBEDDINGS, read_config

CARTRIDGE = "CARTRIDGE"
# Room for the head of a safetensors file, which our own reader counts in.
_HEAD_BYTES = 4096


def export_cartridge(model: FrozenModel, soft_prompt: SoftPrompt, *, allow_other_model: bool = False) -> SoftPrompt:
    """The same soft prompt as keys and values, of PEFT type ``CARTRIDGE`` (Eyuboglu et al. 2025, arXiv:2506.06266).

    Rows of embeddings (prompt tuning, P-tuning, CPT, one task of a multitask prompt) are read by the model once, and the keys
    and values it makes of them are kept in its own dtype: load it in float32 for exact ones. Keys and values (prefix tuning,
    cartridges) stay as they are stored.

    ``PeftModel.from_pretrained`` of the saved folder gives the logits that the soft prompt itself gives in PEFT: in float32, at
    batch size 1, within 1e-5 on tiny models. It fits no other model, not even one of the same shape.

    The manifest is kept, how it was made (``method``) and its probes too, and ``training`` says what it was exported from. A
    soft prompt without a manifest gets one that names the model. What was measured is left out where it would not hold: of
    scores and evaluations of a multitask prompt nobody knows which task they are of, and its probes stay only if this task
    answers them. On another model than the manifest names, embeddings become that model's, and nothing measured stays.

    Args:
        model: The frozen model it was made for.
        soft_prompt: The soft prompt.
        allow_other_model: Accept one that was made for another model, as long as its shapes fit.

    Returns:
        A soft prompt with one tensor, ``[virtual_tokens, num_layers * 2 * kv_heads * head_dim]``.

    Raises:
        ModelMismatchError: It was made for another model, or the model does not continue from keys and values of one shape.
        NonFiniteSoftPromptError: Its numbers overflow in the model's dtype or inside the model.
        InvalidSettingsError: The model is quantized, or the keys and values would be too large a file.
    """
    prefix = compile_prefix(model, soft_prompt, allow_other_model=allow_other_model)
    stays = soft_prompt.config.holds_key_values
    key_values = soft_prompt.tensors[EMBEDDINGS] if stays else _computed(model, prefix)
    heads, _, dim = prefix.layers[0][0].shape
    here = stays or _made_for(model, soft_prompt)
    named = soft_prompt.config.base_model_name_or_path if here else None
    content = {
        "peft_type": CARTRIDGE,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": named or model.name,
        "revision": soft_prompt.config.revision if named else model.revision,
        "num_virtual_tokens": prefix.length,
        "num_layers": len(prefix.layers),
        "num_attention_heads": heads,
        "token_dim": heads * dim,
        # PEFT reads it in training only; what it was trained with, else what the paper advises and PEFT does.
        "num_frozen_tokens": getattr(soft_prompt.config, "num_frozen_tokens", 1),
    }
    manifest = _manifest(model, soft_prompt, prefix, key_values, here=here)
    tensors = {EMBEDDINGS: key_values.detach().cpu().reshape(prefix.length, -1).clone()}
    return SoftPrompt(read_config(content), tensors, manifest=manifest, source=soft_prompt.source)


def _computed(model: FrozenModel, prefix: KVPrefix) -> Tensor:
    """What the model made of rows of embeddings, ``[virtual_tokens, num_layers, 2, kv_heads, head_dim]``."""
    if not prefix.layers:
        msg = f"{model.name} can't continue from keys and values (its load-time self-test failed), so PEFT can't start from them. "
        msg += "Share the soft prompt as it is."
        raise ModelMismatchError(msg, expected="a model whose cache can start from a prefix", found=type(model.model).__name__)
    shapes = {tensor.shape for layer in prefix.layers for tensor in layer}
    if len(shapes) > 1:
        msg = f"The layers of {model.name} hold keys and values of different shapes, and PEFT's format has one shape for all. "
        msg += "Share the soft prompt as it is."
        found = " and ".join(sorted(str(tuple(shape)) for shape in shapes))
        raise ModelMismatchError(msg, expected="keys and values of one shape", found=found)
    if model.quantization is not None:
        msg = f"model: {model.name} is quantized ({model.quantization}), and its rounding would become part of the soft prompt. "
        msg += "Load it without quantization."
        raise InvalidSettingsError(msg)
    key_values = prefix.stacked()
    size = key_values.numel() * key_values.element_size()
    if size > MAX_TENSOR_BYTES - _HEAD_BYTES:
        msg = f"dtype: the keys and values are {size} bytes in {_name(key_values)}, and at most {MAX_TENSOR_BYTES} are read. "
        msg += "Load the model with dtype='bfloat16', or share the soft prompt as it is."
        raise InvalidSettingsError(msg)
    return key_values


def _made_for(model: FrozenModel, soft_prompt: SoftPrompt) -> bool:
    return soft_prompt.manifest is None or soft_prompt.manifest.base_model.fingerprint == model.fingerprint


def _manifest(model: FrozenModel, soft_prompt: SoftPrompt, prefix: KVPrefix, key_values: Tensor, *, here: bool) -> Manifest:
    manifest = soft_prompt.manifest
    record = BaseModelRecord(id=model.name, revision=model.revision, fingerprint=model.fingerprint)
    if manifest is None:
        manifest = Manifest(base_model=record, method="imported")
    if soft_prompt.kind == CARTRIDGE:  # Nothing has changed; it may say already what it was exported from.
        return manifest
    changes: dict[str, Any] = {
        "tensors_sha256": None,
        "training": {
            **manifest.training,
            "exported_from": soft_prompt.kind,
            "exported_content_hash": soft_prompt.content_hash,
            "exported_dtype": _name(key_values),
            "exported_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
        },
    }
    if soft_prompt.task is not None:
        named = manifest.tasks[soft_prompt.task] if soft_prompt.task < len(manifest.tasks) else soft_prompt.task
        changes["training"]["exported_task"] = named
        probes = manifest.probes if here and _says(model, prefix, manifest.probes) else None
        changes |= {"tasks": [], "scores": {}, "evaluation": None, "probes": probes}
    if not here:
        changes |= {"base_model": record, "scores": {}, "evaluation": None, "probes": None}
    # Read as a file is, so that what is written can be read again: the facts of a training are counted.
    return Manifest.from_json(manifest.model_copy(update=changes).model_dump())


def _says(model: FrozenModel, prefix: KVPrefix, probes: ProbesRecord | None) -> bool:
    return probes is not None and run_probes(model, prefix, probes).verdict == "same"


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


__all__ = ["CARTRIDGE", "export_cartridge"]
