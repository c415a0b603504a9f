"""What a run's log says, for those who tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SMOOTHED = 20

Log = Sequence[Mapping[str, Any]]


def looks(log: Log) -> list[Mapping[str, Any]]:
    """The lines of steps after which the rows set aside were looked at."""
    return [entry for entry in log if "validation_loss" in entry]


def smoothed(log: Log) -> list[float]:
    """The mean loss of the last `SMOOTHED` steps, at each step."""
    losses = [entry["loss"] for entry in log]
    return [sum(losses[max(0, at - SMOOTHED + 1) : at + 1]) / min(at + 1, SMOOTHED) for at in range(len(losses))]


def best_place(log: Log, training: Mapping[str, Any]) -> int | None:
    """The place of the best step among the looks; ``None`` where that was the start."""
    return next((place for place, entry in enumerate(looks(log)) if entry["step"] == training.get("best_step")), None)


__all__ = ["SMOOTHED", "Log", "best_place", "looks", "smoothed"]
