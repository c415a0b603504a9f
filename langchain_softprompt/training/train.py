"""train(): a hard prompt and rows in, a SoftPrompt out."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from langchain_softprompt import __version__
from langchain_softprompt.data.examples import instruction_ids, make_examples
from langchain_softprompt.data.hard_prompt import HardPrompt
from langchain_softprompt.errors import FrozenModelError, InvalidSettingsError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import TokenIds, compile_segments
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import BaseModelRecord, DataRecord, Manifest, SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import EMBEDDINGS, PrefixTuning
from langchain_softprompt.training.loop import Outcome, PrefixTraining, StepReport

Rows = Sequence[Mapping[str, str]]


def train(
    model: FrozenModel,
    hard_prompt: HardPrompt,
    rows: Rows,
    validation: Rows,
    *,
    target: str,
    settings: TrainingSettings | None = None,
    description: str = "",
    source: str = "",
    licence: str = "",
    on_step: Callable[[StepReport], None] | None = None,
) -> SoftPrompt:
    """Train a KV prefix that starts as the hard prompt's own keys and values.

    Training therefore starts at the hard prompt's quality; the step with the lowest validation loss is kept, so on
    those rows it never ends below it. (Cartridges, Eyuboglu et al. 2025, arXiv:2506.06266; prefix tuning, Li and
    Liang 2021, arXiv:2101.00190.)

    Args:
        model: The frozen model; only the prefix is learned.
        hard_prompt: The template to start from. Its instructions become the soft prompt; the messages after them are
            sent with it.
        rows: Training rows.
        validation: Rows to choose the best step on; keep them apart from the rows you report scores on.
        target: The field to answer with.
        settings: How to train.
        description: What it does, for the manifest.
        source: Where the data came from, for the manifest.
        licence: The data's licence, for the manifest.
        on_step: Called after each step.

    Returns:
        A soft prompt of PEFT type ``PREFIX_TUNING``, stored in float16 where every number fits.

    Raises:
        TrainingDataError: A row can't be used.
        FrozenModelError: The model can't continue from a prefix, or its keys and values don't fit PEFT's format.
        InvalidSettingsError: More virtual tokens are asked for than the instructions have.
    """
    settings = settings or TrainingSettings()
    if model.packed:
        msg = (
            f"{model.name} was loaded with weights laid out for serving, which have no gradients. Load it without packed and quantization."
        )
        raise FrozenModelError(msg)
    if not model.reuses_prefix:
        msg = f"{model.name} can't continue from keys and values (its load-time self-test failed), so a KV prefix can't be trained on it."
        raise FrozenModelError(msg)
    examples = make_examples(model, hard_prompt, rows, target, max_tokens=settings.max_tokens, source=source or "training data")
    watched = make_examples(model, hard_prompt, validation, target, max_tokens=settings.max_tokens, source="validation data")
    training = PrefixTraining(model, _initial_key_values(model, hard_prompt, settings), settings)
    outcome = training.run(examples, watched, on_step)
    stored = _storable(outcome.key_values)
    manifest = Manifest(
        description=description,
        base_model=BaseModelRecord(id=model.name, revision=model.revision, fingerprint=model.fingerprint),
        method="kv-prefix",
        hard_prompt=list(hard_prompt.messages),
        input_messages=list(hard_prompt.inputs),
        drop_default_system=True,
        training=_facts(settings, outcome),
        seeds=[settings.seed],
        data=DataRecord(
            digest=_digest(rows),
            rows=len(rows),
            validation_rows=min(len(watched), settings.validation_rows),
            source=source,
            licence=licence,
        ),
        scores={"validation_loss": outcome.validation_loss, "initial_validation_loss": outcome.initial_validation_loss},
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        package_version=__version__,
    )
    virtual, layers, _, heads, dim = stored.shape
    config = PrefixTuning(
        peft_type="PREFIX_TUNING",
        task_type="CAUSAL_LM",
        base_model_name_or_path=model.name,
        num_virtual_tokens=virtual,
        num_layers=layers,
        num_attention_heads=heads,
        token_dim=heads * dim,
    )
    return SoftPrompt(config, {EMBEDDINGS: stored.reshape(virtual, -1)}, manifest=manifest)


def _initial_key_values(model: FrozenModel, hard_prompt: HardPrompt, settings: TrainingSettings) -> Tensor:
    ids = instruction_ids(model, hard_prompt)
    length = settings.virtual_tokens or len(ids)
    if length > len(ids):
        msg = f"virtual_tokens: expected at most {len(ids)}, the length of the instructions it starts from, found {length}."
        raise InvalidSettingsError(msg)
    if len(set(model.key_value_shapes)) > 1 or any(key != value for _, key, value in model.key_value_shapes):
        msg = f"The layers of {model.name} hold keys and values of different shapes, and PEFT's format has one shape for all."
        raise FrozenModelError(msg)
    prefix = compile_segments(model, [TokenIds(ids[:length])])
    layers = [torch.stack([key.transpose(0, 1), value.transpose(0, 1)], dim=1) for key, value in prefix.layers]
    return torch.stack(layers, dim=1).clone()


def _storable(key_values: Tensor) -> Tensor:
    """Half the file where float16 holds every number."""
    half = key_values.to(torch.float16)
    return half if bool(torch.isfinite(half).all()) else key_values


def _facts(settings: TrainingSettings, outcome: Outcome) -> dict[str, bool | int | float | str | None]:
    return {**asdict(settings), "best_step": outcome.best_step, "steps_done": outcome.steps, "seconds": round(outcome.seconds, 1)}


def _digest(rows: Rows) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(dict(row), sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
