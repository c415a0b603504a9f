"""check_soft_prompt(): a frozen model and a soft prompt in, an Ageing out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import transformers

from langchain_softprompt.ageing.evaluating import OnProgress, evaluate_again
from langchain_softprompt.ageing.findings import Ageing, Environment, Identity, TemplateCheck
from langchain_softprompt.ageing.templates import check_template
from langchain_softprompt.ageing.words import next_step
from langchain_softprompt.errors import InvalidSoftPromptError, ModelMismatchError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KVPrefix, ProbeReport, compile_prefix, run_probes
from langchain_softprompt.soft_prompt import SoftPrompt


def check_soft_prompt(
    model: FrozenModel,
    soft_prompt: SoftPrompt,
    *,
    data: Sequence[Mapping[str, str]] | None = None,
    labels: Sequence[str] | None = None,
    allow_other_model: bool = False,
    on_progress: OnProgress | None = None,
) -> Ageing:
    """Say whether a soft prompt still does on this model what it did when it was made.

    Its probes are read again and rendered again, which takes about as long as a short prompt each. The recorded evaluation is
    made again only when rows are given.

    Args:
        model: The frozen model as it would serve: this dtype, this quantization, this device.
        soft_prompt: The soft prompt.
        data: Rows to make the recorded evaluation again on: its own, or others of the same kind.
        labels: What answers there are, where the rows don't show them all.
        allow_other_model: Try a soft prompt that was made for another model all the same.
        on_progress: Told what is done, how much of it, and of how much.

    Returns:
        What is the same, what has drifted and by how much, what is broken, and what to do next. That a soft prompt can't be
        used at all is a finding, not an error.

    Raises:
        EvaluationError: Rows are given, but no evaluation was recorded that could be made again.
        TrainingDataError: A row lacks a field.
        MissingExtraError: Rows are given, and the extra ``eval`` is not installed.
    """
    manifest = soft_prompt.manifest
    # Without probes: compiling it would read them by itself and warn, and here they are read on purpose.
    plain = soft_prompt if manifest is None else replace(soft_prompt, manifest=manifest.model_copy(update={"probes": None}))
    prefix: KVPrefix | None = None
    failure = ""
    try:
        prefix = compile_prefix(model, plain, allow_other_model=allow_other_model)
    except (ModelMismatchError, InvalidSoftPromptError) as error:
        failure = str(error)
    report, template, notes = _probes(model, soft_prompt, prefix)
    again = None
    if data is not None and not failure:
        again = evaluate_again(model, plain, data, labels=labels, allow_other_model=allow_other_model, on_progress=on_progress)
    found = Ageing(
        soft_prompt=soft_prompt.source,
        content_hash=soft_prompt.content_hash,
        identity=_identity(model, soft_prompt),
        template=template,
        probes=report,
        evaluation=again,
        failure=failure,
        notes=tuple(notes),
    )
    return replace(found, next_step=next_step(found))


def _probes(model: FrozenModel, soft_prompt: SoftPrompt, prefix: KVPrefix | None) -> tuple[ProbeReport | None, TemplateCheck, list[str]]:
    record = soft_prompt.manifest.probes if soft_prompt.manifest is not None else None
    if record is None or not record.probes:
        return None, TemplateCheck(0), ["no probes were recorded"]
    template = check_template(model, prefix, record, drop_default_system=soft_prompt.drop_default_system)
    notes = [] if template.compared else ["the chat template was not compared: the probes have no messages, or the model no tokenizer"]
    if prefix is None:
        return None, template, notes
    try:
        return run_probes(model, prefix, record), template, notes
    except InvalidSoftPromptError as error:
        return None, template, [*notes, f"the probes can't be read here: {error}"]


def _identity(model: FrozenModel, soft_prompt: SoftPrompt) -> Identity:
    manifest = soft_prompt.manifest
    now = Environment(
        dtype=str(model.dtype).removeprefix("torch."),
        quantization=model.quantization or "none",
        device=model.device.type,
        transformers=transformers.__version__,
        torch=torch.__version__,
    )
    then = Environment()
    if manifest is not None and manifest.probes is not None:
        probes = manifest.probes
        then = Environment(probes.dtype, probes.quantization or "none", probes.device, probes.transformers, probes.torch)
    elif manifest is not None and manifest.evaluation is not None:
        known = manifest.evaluation.environment
        then = Environment(
            known.get("dtype", ""),
            known.get("quantization", ""),
            known.get("device", "").partition(":")[0],
            known.get("transformers", ""),
            known.get("torch", ""),
        )
    return Identity(
        made_for=manifest.base_model.id if manifest is not None else "",
        recorded=manifest.base_model.fingerprint if manifest is not None else "",
        name=model.name,
        fingerprint=model.fingerprint,
        then=then,
        now=now,
    )


__all__ = ["check_soft_prompt"]
