"""Constraint: what an answer may be, token by token."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class ConstraintState(Protocol):
    """How far one answer has come. It belongs to one request, and to the engine's thread alone."""

    def mask(self, size: int) -> Tensor | None:
        """Which tokens may come next.

        Args:
            size: How many logits the model has.

        Returns:
            Booleans, shape ``[size]``; ``None`` where anything may come.
        """
        ...

    def accept(self, token: int) -> bool:
        """Take the token that was picked, and move on.

        Returns:
            Whether the answer is complete: only its end may follow, so that the model need not be asked for it.
        """
        ...


class Constraint(Protocol):
    """What answers may be. It never changes, so any number of requests share one."""

    def start(self, stop_ids: frozenset[int]) -> ConstraintState:
        """The state at the beginning of an answer.

        Args:
            stop_ids: Tokens that end an answer. They must be among what may come where the answer may end.
        """
        ...


__all__ = ["Constraint", "ConstraintState"]
