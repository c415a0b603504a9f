"""How many positions of prompts a frozen model really reads, counted where it reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.passes import RowPart
from tests.unit_tests.engine.inside import replaced


@dataclass
class Reads:
    """A count that goes up while a model reads."""

    positions: int = 0


@contextmanager
def counted_reads(model: FrozenModel) -> Iterator[Reads]:
    """Count what the model's passes are given to read.

    Models with native caches decode through the same door; ask those for one new token, which takes no step.
    """
    reads, read = Reads(), model.passes.read

    def counting(parts: Sequence[RowPart]) -> list[Tensor | None]:
        reads.positions += sum(part.length for part in parts)
        return read(parts)

    with replaced(model.passes, "read", lambda _: counting):
        yield reads
