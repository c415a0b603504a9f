"""What a soft prompt started as: what it has learned is the difference."""

from __future__ import annotations

from dataclasses import replace

from langchain_softprompt.data import HardPrompt, fitted, instruction_ids
from langchain_softprompt.errors import SoftPromptError
from langchain_softprompt.evaluation.arms import Arm
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import TokenIds, compile_segments
from langchain_softprompt.soft_prompt import Manifest, SoftPrompt

NAME = "initialisation"
_OF_A_RUN = ("best", "last")


def initialisation_arm(
    model: FrozenModel, arm: Arm, prompt: HardPrompt | None, *, init_from: SoftPrompt | None = None, name: str = NAME
) -> Arm | str:
    """The arm of a soft prompt as it was before its first training step.

    Args:
        model: The frozen model.
        arm: The soft prompt's arm.
        prompt: The hard prompt it was made with, if known.
        init_from: What it started as, where the caller knows.
        name: What to call it.

    Returns:
        The arm, or why there is none.
    """
    soft_prompt = arm.soft_prompt
    if soft_prompt is None:
        return "it is no soft prompt"
    start = init_from or saved_start(soft_prompt) or _computed(model, soft_prompt, prompt)
    if isinstance(start, str):
        return start
    if start.manifest is None:  # Rendered as the soft prompt itself.
        manifest = _without_probes(soft_prompt)
        start = SoftPrompt(start.config, start.tensors, task=start.task, manifest=manifest, source=start.source)
    return Arm(name, "initialisation", arm.inputs, soft_prompt=start, origin=arm.name)


def saved_start(soft_prompt: SoftPrompt) -> SoftPrompt | None:
    """What a soft prompt started as, where it is that of a training run, which has kept its start beside it."""
    if soft_prompt.folder is None:
        return None
    folder = soft_prompt.folder.resolve()
    initial = folder.parent / "initial"
    if folder.name not in _OF_A_RUN or not (folder.parent / "settings.json").is_file() or not (initial / "adapter_config.json").is_file():
        return None
    try:
        return SoftPrompt.load(initial)
    except SoftPromptError:
        return None


def _computed(model: FrozenModel, soft_prompt: SoftPrompt, prompt: HardPrompt | None) -> SoftPrompt | str:
    """The hard prompt's own first tokens, for a KV prefix that started as these."""
    manifest = soft_prompt.manifest
    if manifest is None or manifest.method != "kv-prefix":
        return "what it started as was not kept, and its method is not one whose start can be computed again"
    started_as = manifest.training.get("init", manifest.training.get("start", "hard-prompt"))
    if started_as != "hard-prompt" or prompt is None:
        return f"it started as {started_as}, which was not kept"
    if not model.reuses_prefix:
        return f"{model.name} can't start from keys and values"
    length = soft_prompt.num_virtual_tokens
    prefix = compile_segments(model, [TokenIds(fitted(instruction_ids(model, prompt), length))])
    start = SoftPrompt.of_key_values(prefix.stacked().float())
    return replace(start, manifest=_without_probes(soft_prompt), source=f"{length} tokens of {prompt.name}")


def _without_probes(soft_prompt: SoftPrompt) -> Manifest | None:
    """What was trained expects other words than its start."""
    return soft_prompt.manifest.model_copy(update={"probes": None}) if soft_prompt.manifest is not None else None


__all__ = ["initialisation_arm", "saved_start"]
