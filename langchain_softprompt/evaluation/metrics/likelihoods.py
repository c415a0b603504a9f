"""How unexpected the wanted answers are to the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from langchain_softprompt.evaluation.metrics.metric import Judged, Measured, ratio

if TYPE_CHECKING:
    from langchain_softprompt.evaluation.metrics.metric import Numbers


def perplexity(rows: Sequence[Judged]) -> Measured:
    """The exponential of the mean loss a token of the wanted answers, their end-of-turn tokens included; 1 is certainty.

    It is ``exp`` of the loss that training reports on the same rows.
    """
    parts = np.zeros((len(rows), 2))
    for number, row in enumerate(rows):
        if row.likelihood is not None:
            parts[number] = -row.likelihood.total, len(row.likelihood.log_probs)
    return Measured(_exponential(parts), parts, _exponential, known=parts[:, 1] > 0)


def _exponential(sums: Numbers) -> Numbers:
    with np.errstate(over="ignore"):
        made: Numbers = np.exp(ratio(sums))
    return made
