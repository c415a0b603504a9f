"""The learning rate: a few are tried on a few steps each, and the one with the lowest validation loss is taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from langchain_softprompt.data import Example
from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.training.learners import Learner
from langchain_softprompt.training.loop import TrainingLoop
from langchain_softprompt.training.objectives import Objective
from langchain_softprompt.training.state import TrainingState

# From least to most, under AdamW: rates of keys and values (see KeyValueLearner for their unit), and of rows of embeddings.
RATES = {"kv-prefix": (5e-3, 1.5e-2, 4e-2), "prompt-tuning": (3e-3, 1e-2, 3e-2)}
_SHARE, _FEWEST, _MOST = 0.05, 8, 30
_ROWS = 64


def sweep_steps(steps: int) -> int:
    """Steps that each rate is tried for, in a run of so many."""
    return max(1, min(max(_FEWEST, int(steps * _SHARE)), _MOST, steps))


def find_learning_rate(
    model: FrozenModel,
    new_learner: Callable[[], Learner],
    objective: Objective,
    validation: Sequence[Example],
    settings: TrainingSettings,
    tried: dict[str, float],
    on_rate: Callable[[float, float], None],
) -> float:
    """Try the method's usual learning rates.

    Args:
        model: The frozen model.
        new_learner: Makes a learner as it is before the first step.
        objective: What is made smaller.
        validation: Rows to compare on; with none, the loss of the last steps is compared.
        settings: How to train.
        tried: Rates tried already, with their loss; grows.
        on_rate: Called with each rate and its loss once it is tried.

    Raises:
        FrozenModelError: The loss is no number with any of them.
    """
    steps = sweep_steps(settings.steps_for(len(objective.examples)))
    for rate in RATES[settings.method]:
        if str(rate) in tried:
            continue
        short = settings.override(max_steps=steps, evaluate_every=steps, learning_rate=rate, validation_rows=_ROWS)
        loop = TrainingLoop(model, new_learner(), objective, validation, short, TrainingState(learning_rate=rate))
        loop.run()
        last = loop.state.losses[-max(1, steps // 4) :]
        loss = loop.look().loss if validation else math.fsum(last) / len(last)
        tried[str(rate)] = loss if math.isfinite(loss) else 1e9
        on_rate(rate, tried[str(rate)])
    best = min(tried, key=lambda rate: tried[rate])
    if tried[best] >= 1e9:
        msg = f"No learning rate among {', '.join(tried)} gives a loss that is a number. Give one yourself, or load the model in float32."
        raise FrozenModelError(msg)
    return float(best)


__all__ = ["RATES", "find_learning_rate", "sweep_steps"]
