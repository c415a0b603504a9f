"""train(): a hard prompt and rows in, a SoftPrompt out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import transformers

from langchain_softprompt.data import Chat, HardPrompt
from langchain_softprompt.errors import FrozenModelError, TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.training.loop import StepReport
from langchain_softprompt.training.material import ChatMaterial, Material, RowMaterial, Rows
from langchain_softprompt.training.objectives import Completions
from langchain_softprompt.training.records import About, Fact, Records
from langchain_softprompt.training.run_folder import RunFolder
from langchain_softprompt.training.runs import Made, Nobody, Run, Watcher
from langchain_softprompt.training.starts import check_fits, new_learner

_INSTRUCTIONS = "instructions"


def train(
    model: FrozenModel,
    hard_prompt: HardPrompt,
    rows: Rows,
    validation: Rows,
    *,
    target: str,
    settings: TrainingSettings | None = None,
    start_from: SoftPrompt | None = None,
    description: str = "",
    source: str = "",
    licence: str = "",
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    notes: Mapping[str, Any] | None = None,
    facts: Mapping[str, Fact] | None = None,
    probes: bool = True,
    keep: Literal["best", "last"] = "best",
    on_step: Callable[[StepReport], None] | None = None,
    watcher: Watcher | None = None,
) -> SoftPrompt:
    """Train a soft prompt that starts as the hard prompt and is kept at its best step.

    With the default method it starts as the hard prompt's own keys and values, so training starts at the hard prompt's
    quality, and on the validation rows it never ends below it. (Cartridges, Eyuboglu et al. 2025, arXiv:2506.06266;
    prefix tuning, Li and Liang 2021, arXiv:2101.00190.)

    Args:
        model: The frozen model; only the soft prompt is learned.
        hard_prompt: The template to start from. Its instructions become the soft prompt; the messages after them are
            sent with it.
        rows: Training rows.
        validation: Rows to choose the best step on; keep them apart from the rows you report scores on. With none, the
            last step is taken.
        target: The field to answer with.
        settings: How to train.
        start_from: Another soft prompt to start as, instead of the hard prompt.
        description: What it does, for the manifest.
        source: Where the data came from, for the manifest.
        licence: The data's licence, for the manifest.
        output: Folder of the run; ``None`` writes nothing.
        resume: Go on with the run in `output`. A run that was killed at any moment ends with the tensors it would have
            ended with, on the same machine and number of threads.
        overwrite: Replace what is in `output`.
        notes: Anything to keep with the run's settings, for instance where the data lay.
        facts: More facts of the training for the manifest, for instance `CrossValidation.facts`, which the run's page tells.
        probes: Write three short texts of the rows into the manifest, with what the model says to them, so that whoever
            loads the soft prompt notices drift. Leave them out where nobody else may read a row.
        keep: Which soft prompt to return; a folder gets both.
        on_step: Called after each step.
        watcher: Told of the plan, of learning rates tried and of each step.

    Returns:
        The best soft prompt, of PEFT type ``PREFIX_TUNING`` (stored in float16 where every number fits) or
        ``PROMPT_TUNING``.

    Raises:
        TrainingDataError: A row can't be used.
        FrozenModelError: The model can't be trained on by this method.
        InvalidSettingsError: The soft prompt to start from does not fit the settings.
        RunFolderError: The folder can't be used, or was begun with something else.
    """
    return learn(
        model,
        RowMaterial.of(hard_prompt, rows, validation, target),
        settings=settings,
        start_from=start_from,
        about=About(description, source, licence),
        output=output,
        resume=resume,
        overwrite=overwrite,
        notes=notes,
        facts=facts,
        probes=probes,
        keep=keep,
        watcher=watcher or (_Steps(on_step) if on_step else None),
    )


def train_on_chats(
    model: FrozenModel,
    instructions: str,
    chats: Sequence[Chat],
    validation: Sequence[Chat],
    *,
    settings: TrainingSettings | None = None,
    start_from: SoftPrompt | None = None,
    description: str = "",
    source: str = "",
    licence: str = "",
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    notes: Mapping[str, Any] | None = None,
    probes: bool = True,
    watcher: Watcher | None = None,
) -> SoftPrompt:
    """Train a soft prompt on whole chats: tool calls, answers of tools, answers in a format.

    Each chat's last message is learned, as the model would write it; what stands before it is rendered as `ChatSoftPrompt`
    renders it, tools and response format included.

    Args:
        model: The frozen model; only the soft prompt is learned.
        instructions: The system text that the soft prompt starts as. It is in no chat: the chats' own system messages stay.
        chats: What to learn.
        validation: Chats to choose the best step on; with none, the last step is taken.
        settings: As for `train`, as are all that follow.
        start_from: Another soft prompt to start as.
        description: What it does.
        source: Where the chats came from.
        licence: Their licence.
        output: Folder of the run.
        resume: Go on with the run in `output`.
        overwrite: Replace what is in `output`.
        notes: Kept with the run's settings.
        probes: As for `train`.
        watcher: Told how the run goes.

    Raises:
        TrainingDataError: A chat can't be used, or there are no instructions.
        FrozenModelError: The model can't be trained on by this method.
        InvalidSettingsError: The soft prompt to start from does not fit the settings.
        RunFolderError: The folder can't be used, or was begun with something else.
    """
    if not instructions.strip():
        raise TrainingDataError(_INSTRUCTIONS, None, "expected the system text that the soft prompt starts as, found none.")
    return learn(
        model,
        ChatMaterial(instructions.strip(), chats, validation),
        settings=settings,
        start_from=start_from,
        about=About(description, source, licence),
        output=output,
        resume=resume,
        overwrite=overwrite,
        notes=notes,
        probes=probes,
        watcher=watcher,
    )


def learn(
    model: FrozenModel,
    material: Material,
    *,
    settings: TrainingSettings | None,
    start_from: SoftPrompt | None,
    about: About,
    output: str | Path | None,
    resume: bool,
    overwrite: bool,
    notes: Mapping[str, Any] | None,
    probes: bool,
    watcher: Watcher | None,
    facts: Mapping[str, Fact] | None = None,
    keep: Literal["best", "last"] = "best",
) -> SoftPrompt:
    """What `train` and `train_on_chats` share; arguments and errors as there."""
    settings = settings or TrainingSettings()
    start = partial(new_learner, model, material.start_ids(model), settings, start_from=start_from)
    learner = start()  # Refuses what can't be trained before the data is read.
    examples = material.examples(model, settings.max_tokens, about.source)
    watched = material.watched(model, settings.max_tokens)
    check_fits(model, learner, [*examples, *watched])
    identity = run_identity(model, material, settings=settings, start_from=start_from)
    folder = run_folder(output, identity, notes, resume=resume, overwrite=overwrite)
    record = Records(model, material, about, method=settings.method, start_from=start_from, probes=probes, more=facts or {})
    run = Run(model, start, Completions(model, examples), watched, settings, record.finish, folder, watcher or Nobody())
    try:
        made = run.execute()
        return made.best if keep == "best" else _last_of(made, model)
    finally:
        if folder is not None:
            folder.close()


def _last_of(made: Made, model: FrozenModel) -> SoftPrompt:
    if made.last is None:
        msg = f"After its last step the soft prompt's numbers overflow on {model.name}. Train with a lower learning rate."
        raise FrozenModelError(msg)
    return made.last


def run_folder(
    output: str | Path | None, identity: Mapping[str, Any], notes: Mapping[str, Any] | None, *, resume: bool, overwrite: bool
) -> RunFolder | None:
    """The folder to write to: new, or one to go on in."""
    if output is None:
        return None
    if not resume:
        return RunFolder.create(output, {**identity, "notes": dict(notes or {})}, overwrite=overwrite)
    folder = RunFolder.open(output)
    try:
        folder.check_same(identity)
    except Exception:
        folder.close()
        raise
    return folder


def run_identity(
    model: FrozenModel, material: Material, *, settings: TrainingSettings, start_from: SoftPrompt | None, **more: Any
) -> dict[str, Any]:
    """What must be the same for a run to be gone on with."""
    return {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "dtype": str(model.dtype).removeprefix("torch."),
        "hard_prompt": [message.model_dump() for message in material.messages],
        "target": material.target,
        "data": material.digest(),
        "validation": material.validation_digest(),
        "start_from": start_from.content_hash if start_from is not None else None,
        "settings": asdict(settings),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **more,
    }


class _Steps(Nobody):
    """Only the steps matter; a plan would cost two of them."""

    def __init__(self, on_step: Callable[[StepReport], None]) -> None:
        self._on_step = on_step

    def on_step(self, report: StepReport) -> None:
        self._on_step(report)


__all__ = ["run_folder", "run_identity", "train", "train_on_chats"]
