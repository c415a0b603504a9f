"""StepOutcome: what one step of all rows brought."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True)
class StepOutcome:
    """Logits of the rows that went on, and the errors of those that did not.

    Attributes:
        answered: Rows that shared a pass, with their logits, ``[rows, vocab_size]``.
        failed: The exception that each other row alone met; such a row is in no defined state and must be removed.
    """

    answered: list[tuple[list[int], Tensor]] = field(default_factory=list)
    failed: dict[int, Exception] = field(default_factory=dict)


__all__ = ["StepOutcome"]
