"""cross_validate(): where rows are few, each part of them is learned without in turn, and judged on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from langchain_softprompt.data import HardPrompt
from langchain_softprompt.data.splits import folds as deal
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.training.material import Rows
from langchain_softprompt.training.runs import Watcher
from langchain_softprompt.training.train import train

FEW_ROWS = 200
_TOLD = 20  # A manifest is no place for two hundred folds.


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold: trained on the others, judged on these rows.

    Attributes:
        rows: Rows it was judged on.
        loss: Mean loss per answer token on them, natural log, at the step all folds share.
        exact_match: Share of them whose answer greedy decoding would write exactly.
        initial_exact_match: The same before the first step.
        best_step: The step that was best on them.
        soft_prompt: What was trained.
    """

    rows: int
    loss: float
    exact_match: float
    initial_exact_match: float
    best_step: int
    soft_prompt: SoftPrompt


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """What the folds say together.

    Attributes:
        folds: The folds.
        learning_rate: The rate they were trained with.
        numbers: For each fold the numbers of its rows.
    """

    folds: tuple[Fold, ...]
    learning_rate: float
    numbers: tuple[tuple[int, ...], ...]

    @property
    def exact_match(self) -> float:
        """Share of all rows that a soft prompt trained without them answers exactly."""
        return sum(fold.exact_match * fold.rows for fold in self.folds) / sum(fold.rows for fold in self.folds)

    @property
    def standard_error(self) -> float:
        """Of the mean over folds; they share training rows, so it is a little too small."""
        return statistics.stdev(fold.exact_match for fold in self.folds) / math.sqrt(len(self.folds))

    def facts(self) -> dict[str, bool | int | float | str | None]:
        """What a manifest says of them."""
        by_fold: dict[str, bool | int | float | str | None] = {}
        for number, fold in enumerate(self.folds[:_TOLD], start=1):
            by_fold[f"fold_{number}_rows"] = fold.rows
            by_fold[f"fold_{number}_initial_exact_match"] = fold.initial_exact_match
            by_fold[f"fold_{number}_exact_match"] = fold.exact_match
        return {"folds": len(self.folds), "folds_exact_match": self.exact_match, "folds_standard_error": self.standard_error, **by_fold}

    @property
    def steps(self) -> int:
        """Steps to train on all rows: the mean of what was best in the folds."""
        return max(1, round(statistics.mean(fold.best_step for fold in self.folds)))


def cross_validate(
    model: FrozenModel,
    hard_prompt: HardPrompt,
    rows: Rows,
    *,
    target: str,
    count: int = 5,
    settings: TrainingSettings | None = None,
    start_from: SoftPrompt | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    watcher: Watcher | None = None,
    on_fold: Callable[[int, Fold], None] | None = None,
) -> CrossValidation:
    """Train once a fold on the rows outside it, and judge on those inside.

    The number of steps is the settings' own: no fold's rows choose the step that the fold is judged by, which would
    flatter it. What was the best step in each fold is told beside.

    Args:
        model: The frozen model.
        hard_prompt: As for `train`.
        rows: All rows.
        target: The field to answer with.
        count: How many folds.
        settings: As for `train`; the learning rate is found once, in the first fold.
        start_from: As for `train`.
        output: Folder for a run folder of each fold; ``None`` writes nothing.
        resume: Go on with what is in `output`.
        watcher: Told of each training.
        on_fold: Called with the number of each fold, from 1, once it is judged.

    Raises:
        InvalidSettingsError: There are fewer rows than folds.
        KeyboardInterrupt: A fold was stopped, and what it came to is no result; with `output` it can be gone on with.
    """
    settings = (settings or TrainingSettings()).override(patience=None)
    numbers = deal(rows, count, target=target, seed=settings.seed)
    done: list[Fold] = []
    for place, inside in enumerate(numbers, start=1):
        kept = set(inside)
        outside = [row for number, row in enumerate(rows) if number not in kept]
        judged = [rows[number] for number in inside]
        chosen = settings.override(max_steps=settings.steps_for(len(outside)), validation_rows=max(len(judged), 1))
        folder = Path(output) / f"fold-{place}" if output is not None else None
        made = train(
            model,
            hard_prompt,
            outside,
            judged,
            target=target,
            settings=chosen,
            start_from=start_from,
            output=folder,
            resume=resume and folder is not None and (folder / "settings.json").exists(),
            overwrite=resume,
            watcher=watcher,
            keep="last",
        )
        fold, rate = _fold(made, len(judged), chosen)
        settings = settings.override(learning_rate=rate)
        done.append(fold)
        if on_fold:
            on_fold(place, fold)
    return CrossValidation(tuple(done), settings.learning_rate or 0.0, tuple(map(tuple, numbers)))


def _fold(made: SoftPrompt, rows: int, settings: TrainingSettings) -> tuple[Fold, float]:
    """What a fold came to, and the learning rate it was trained with."""
    if made.manifest is None:
        msg = "a trained soft prompt has a manifest"
        raise InvalidSettingsError(msg)
    scores, training = made.manifest.scores, made.manifest.training
    if training["steps_done"] != settings.max_steps:
        raise KeyboardInterrupt
    best, rate = training["best_step"], training["learning_rate"]
    fold = Fold(
        rows=rows,
        loss=scores["validation_loss"],
        exact_match=scores["validation_exact_match"],
        initial_exact_match=scores["initial_validation_exact_match"],
        best_step=int(best or 0),
        soft_prompt=made,
    )
    return fold, float(rate or 0.0)


__all__ = ["FEW_ROWS", "CrossValidation", "Fold", "cross_validate"]
