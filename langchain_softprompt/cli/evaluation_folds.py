"""``evaluate --folds``: soft prompts made again, each time without some of the rows, and judged on these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from langchain_softprompt.cli.output import say
from langchain_softprompt.errors import EvaluationError

if TYPE_CHECKING:
    from langchain_softprompt.data import HardPrompt
    from langchain_softprompt.evaluation import Arm
    from langchain_softprompt.frozen_model import FrozenModel
    from langchain_softprompt.soft_prompt import Manifest, SoftPrompt

Rows = Sequence[Mapping[str, str]]
_FOLDS = 5


def choose_folds(asked: int | None, soft: Sequence[Arm], known: Rows) -> int:
    """How many folds: what was asked for, else 5 where soft prompts would be judged on the few rows they were trained on.

    Raises:
        EvaluationError: One fold is none.
    """
    from langchain_softprompt.training import FEW_ROWS

    if asked == 1:
        msg = "folds: 1 would leave nothing to train on. Give 2 or more, or 0 for none."
        raise EvaluationError(msg)
    if asked is not None:
        return asked
    return _FOLDS if len(known) < FEW_ROWS and learned_from(soft, known) and all(map(_retrainable, soft)) else 0


def learned_from(soft: Sequence[Arm], known: Rows) -> list[str]:
    """The names of the soft prompts that were trained on almost all of these rows."""
    from langchain_softprompt.evaluation.training_rows import MOSTLY, share_of_training_rows

    return [arm.name for arm in soft if share_of_training_rows(arm, known) >= MOSTLY]


def check_folds(soft: Sequence[Arm], *, record: bool) -> None:
    """Refuse what there can't be folds of, before any work.

    Raises:
        EvaluationError: A soft prompt does not say how it was trained, or scores shall be recorded.
    """
    strange = next((arm.name for arm in soft if not _retrainable(arm)), None)
    if strange is not None:
        msg = (
            f"folds: {strange} does not say how it was trained on wanted answers, so it can't be made again. Give --folds 0, and rows "
            "it was not trained on."
        )
        raise EvaluationError(msg)
    if record:
        msg = "record: scores of folds are those of other soft prompts, trained without some rows. Leave --record, or give --folds 0."
        raise EvaluationError(msg)


def fold_arms(
    frozen: FrozenModel, soft: Sequence[Arm], judged: Rows, count: int, *, target: str, init_from: SoftPrompt | None
) -> tuple[list[Arm], dict[str, str]]:
    """Train each soft prompt again, once a fold, as its manifest says.

    Returns:
        The arms that are judged, and those that are not with the reason: who was trained on these rows is not asked about them.
    """
    seen = learned_from(soft, judged)
    arms: list[Arm] = []
    left_out = {}
    for place, arm in enumerate(soft):
        if arm.name in seen:
            left_out[arm.name] = "it was trained on these rows; its folds stand for it"
        else:
            arms.append(arm)
        arms.append(_fold_arm(frozen, arm, judged, count, target=target, init_from=init_from if place == 0 else None))
    return arms, left_out


def fold_shots(
    soft: Sequence[Arm], prompt: HardPrompt | None, judged: Rows, count: int, shots: int, *, target: str, seed: int
) -> tuple[list[Arm], dict[str, str]]:
    """The few-shot baseline, for each fold with examples from the others; or why there is none."""
    from langchain_softprompt.data.splits import folds
    from langchain_softprompt.evaluation import folded_few_shot_arm, hard_prompt_of

    prompts = [prompt] if prompt is not None else [hard_prompt_of(arm.soft_prompt) for arm in soft if arm.soft_prompt is not None]
    found = {hard.messages: hard for hard in prompts if hard is not None}
    numbers = folds(judged, count, target=target, seed=seed)
    arms: list[Arm] = []
    left_out = {}
    for hard in found.values():
        suffix = f" of {hard.name}" if len(found) > 1 else ""
        try:
            made = folded_few_shot_arm(hard, judged, numbers, shots, target=target, seed=seed)
            arms.append(replace(made, name=made.name + suffix))
        except EvaluationError as error:
            left_out[f"few-shot{suffix}"] = str(error)
    return arms, left_out


def _fold_arm(frozen: FrozenModel, arm: Arm, judged: Rows, count: int, *, target: str, init_from: SoftPrompt | None) -> Arm:
    from langchain_softprompt.cli.training_output import Screen
    from langchain_softprompt.data import HardPrompt
    from langchain_softprompt.evaluation import folded_arm
    from langchain_softprompt.training import cross_validate

    manifest = arm.manifest
    assert manifest is not None  # noqa: S101 - `check_folds` saw to it
    say(f"{arm.name}: training it again {count} times, each time without a part of the rows, to judge it on that part.")
    prompt = HardPrompt(tuple(manifest.hard_prompt), arm.name)
    start = _start(arm, init_from)
    with Screen(frozen) as screen:
        found = cross_validate(
            frozen, prompt, judged, target=target, count=count, settings=_settings(manifest), start_from=start, watcher=screen
        )
    folds = [(fold.soft_prompt, numbers) for fold, numbers in zip(found.folds, found.numbers, strict=True)]
    return replace(folded_arm(folds, name=f"{arm.name}, {count} folds"), origin=arm.name)


def _start(arm: Arm, init_from: SoftPrompt | None) -> SoftPrompt | None:
    """The soft prompt it started as, where it did not start from the hard prompt or the vocabulary."""
    from langchain_softprompt.evaluation.initialisation import saved_start

    manifest = arm.manifest
    assert manifest is not None  # noqa: S101 - as above
    if init_from is not None or not str(manifest.training.get("init", "")).startswith("soft-prompt"):
        return init_from
    kept = saved_start(arm.soft_prompt) if arm.soft_prompt is not None else None
    if kept is None:
        msg = f"folds: {arm.name} started as another soft prompt, which was not kept beside it. Name it with --init-from."
        raise EvaluationError(msg)
    return kept


def _settings(manifest: Manifest) -> Any:
    """The settings a manifest tells: those of its training, with the learning rate and the steps that were found."""
    from langchain_softprompt.settings import TrainingSettings

    told = {name: value for name, value in manifest.training.items() if name in {field.name for field in fields(TrainingSettings)}}
    return TrainingSettings(**told)  # type: ignore[arg-type]


def _retrainable(arm: Arm) -> bool:
    manifest = arm.manifest
    return manifest is not None and bool(manifest.hard_prompt) and not manifest.distilled and "method" in manifest.training
