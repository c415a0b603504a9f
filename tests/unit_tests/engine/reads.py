"""How many positions of prompts a frozen model really reads, counted where it reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_softprompt.frozen_model import FrozenModel


@dataclass
class Reads:
    """A count that goes up while a model reads."""

    positions: int = 0


@contextmanager
def counted_reads(model: FrozenModel) -> Iterator[Reads]:
    """Count what `FrozenModel.forward` is given.

    Models with native caches decode through it too; ask those for one new token, which takes no step.
    """
    reads, forward = Reads(), model.forward

    def counting(**given: Any) -> Any:
        inputs = given.get("input_ids") if given.get("input_ids") is not None else given["inputs_embeds"]
        reads.positions += inputs.shape[1]
        return forward(**given)

    replaced: dict[str, Callable[..., Any]] = vars(model)
    replaced["forward"] = counting
    try:
        yield reads
    finally:
        del replaced["forward"]
