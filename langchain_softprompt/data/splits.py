"""Rows to keep apart: a held-out share, or folds, with the mix of answers kept."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

from langchain_softprompt.errors import InvalidSettingsError

_LONGEST_LABEL = 100
_ROUNDING = 1e-9
AnyT = TypeVar("AnyT")
RowT = TypeVar("RowT", bound=Mapping[str, str])


def folds(rows: Sequence[RowT], count: int, *, target: str, seed: int = 0) -> list[list[int]]:
    """Deal rows out to folds, each answer spread over all of them.

    Args:
        rows: The rows.
        count: How many folds, at least 2 and at most the rows.
        target: The field that holds the answer.
        seed: Seed of the order.

    Returns:
        For each fold the numbers of its rows, ascending; each row is in one fold.

    Raises:
        InvalidSettingsError: There are fewer rows than folds, or fewer than 2 folds.
    """
    if not 2 <= count <= len(rows):
        msg = f"folds: expected a number from 2 to the {len(rows)} rows there are, found {count}."
        raise InvalidSettingsError(msg)
    dealt: list[list[int]] = [[] for _ in range(count)]
    for place, row in enumerate(_by_answer(rows, target, seed)):
        dealt[place % count].append(row)
    return [sorted(fold) for fold in dealt]


def hold_out(rows: Sequence[RowT], share: float, *, target: str, seed: int = 0) -> tuple[list[RowT], list[RowT]]:
    """Set a share of the rows aside, at least one, each answer in proportion.

    Args:
        rows: The rows, at least 2.
        share: The share to set aside, between 0 and 1.
        target: The field that holds the answer.
        seed: Seed of the choice.

    Returns:
        The rows that stay and those set aside, both in their old order.

    Raises:
        InvalidSettingsError: There is only one row, or the share is not between 0 and 1.
    """
    if len(rows) < 2 or not 0 < share < 1:
        msg = f"A share of {share} of {len(rows)} rows can't be set aside: expected a share between 0 and 1 and at least 2 rows."
        raise InvalidSettingsError(msg)
    count = min(max(1, math.ceil(len(rows) * share - _ROUNDING)), len(rows) - 1)
    order = _by_answer(rows, target, seed)
    apart = {order[int(turn / share + _ROUNDING)] for turn in range(count)}  # at even distances, so that no answer is passed over
    return [row for place, row in enumerate(rows) if place not in apart], [row for place, row in enumerate(rows) if place in apart]


def hold_out_any(rows: Sequence[AnyT], share: float, *, seed: int = 0) -> tuple[list[AnyT], list[AnyT]]:
    """As `hold_out`, of rows whose answers are no labels."""
    stay, apart = hold_out([{"answer": "", "number": str(number)} for number in range(len(rows))], share, target="answer", seed=seed)
    return [rows[int(row["number"])] for row in stay], [rows[int(row["number"])] for row in apart]


def is_classification(answers: Sequence[str]) -> bool:
    """Whether answers come from a small set: each stands for at least two rows on average, and none is long."""
    labels = set(answers)
    return len(labels) >= 2 and len(answers) >= 2 * len(labels) and max(map(len, labels)) <= _LONGEST_LABEL


def _by_answer(rows: Sequence[RowT], target: str, seed: int) -> list[int]:
    """Numbers of the rows, shuffled, those of one answer together; answers that occur once come last, in any order."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    by_answer: dict[str, list[int]] = defaultdict(list)
    for row in order:
        by_answer[rows[row][target]].append(row)
    several = [group for group in by_answer.values() if len(group) > 1]
    alone = [group[0] for group in by_answer.values() if len(group) == 1]
    return [row for group in several for row in group] + alone


__all__ = ["folds", "hold_out", "hold_out_any", "is_classification"]
