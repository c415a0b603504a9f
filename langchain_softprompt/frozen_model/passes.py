"""Passes: the two ways a model is used in serving, reading parts of prompts and letting rows go one step on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from transformers import Cache

from langchain_softprompt.frozen_model.branches import Branches
from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.one_row import read_row, step_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False, slots=True)
class RowPart:
    """The positions of one row that a pass reads.

    Attributes:
        cache: What the row has read so far; grows by this part.
        past_length: How many positions that is.
        input_ids: Token ids, ``[1, length]``; or
        inputs_embeds: embeddings, ``[1, length, hidden_size]``.
        wants_logits: Whether anybody will look at the logits after the last position.
        wants_all: Whether somebody will look at the logits after every position.
        branches: Where the positions stand and what each sees, when they are no row. Only for models that read such: see
            `choosing.reads_branches`.
    """

    cache: Cache
    past_length: int
    input_ids: Tensor | None = None
    inputs_embeds: Tensor | None = None
    wants_logits: bool = True
    wants_all: bool = False
    branches: Branches | None = None

    @property
    def length(self) -> int:
        """How many positions are read."""
        given = self.input_ids if self.input_ids is not None else self.inputs_embeds
        if given is None:
            msg = "A part is read from input_ids or inputs_embeds."
            raise TypeError(msg)
        return given.shape[1]

    def positions(self) -> Tensor:
        """Their numbers in the row."""
        if self.branches is not None:
            return self.branches.positions
        given = self.input_ids if self.input_ids is not None else self.inputs_embeds
        device = None if given is None else given.device
        return torch.arange(self.past_length, self.past_length + self.length, device=device)


def part_embeddings(part: RowPart, embedding: Callable[[Tensor], Tensor]) -> Tensor:
    """What a part looks like to the first layer, ``[length, hidden_size]``."""
    if part.inputs_embeds is not None:
        return part.inputs_embeds[0]
    return embedding(part.input_ids[0])  # type: ignore[index]


class Passes(Protocol):
    """How a model is read when it serves."""

    @property
    def reads_together(self) -> bool:
        """Whether several parts are read in one pass; else they must be given one by one."""
        ...

    def read(self, parts: Sequence[RowPart]) -> list[Tensor | None]:
        """Read parts of rows, on top of what each has read before; their caches grow.

        When it fails, no slotted cache counts as grown.

        Returns:
            For each part the logits after its last position, ``[vocab_size]``, or those after each of its positions,
            ``[length, vocab_size]``, where all are wanted; ``None`` where nobody wants any.
        """
        ...

    def step(self, input_ids: Tensor, cache: ColumnCache, lengths: Sequence[int]) -> Tensor:
        """Let several rows read one more position each; the caller moves the window on.

        Args:
            input_ids: A token for each row, shape ``[rows, 1]``.
            cache: The rows in sight, all ending at the same column.
            lengths: How many positions each row has read.

        Returns:
            Logits of each row, ``[rows, vocab_size]``.
        """
        ...


class TransformersPasses:
    """Transformers' own forward, for any model.

    Args:
        model: The transformers model.
        is_plain: Whether its caches are ones of plain keys and values, rather than native ones.
    """

    def __init__(self, model: PreTrainedModel, *, is_plain: bool) -> None:
        self._model = model
        self._is_plain = is_plain
        self.reads_together = False

    def read(self, parts: Sequence[RowPart]) -> list[Tensor | None]:
        """Read one part; see `Passes.read`."""
        return [
            read_row(
                self._model,
                input_ids=part.input_ids,
                inputs_embeds=part.inputs_embeds,
                cache=part.cache,
                past_length=part.past_length,
                is_plain=self._is_plain,
                wants_all=part.wants_all,
                branches=part.branches,
            )
            for part in parts
        ]

    def step(self, input_ids: Tensor, cache: ColumnCache, lengths: Sequence[int]) -> Tensor:
        """One forward over all rows; see `Passes.step`."""
        return step_rows(self._model, input_ids=input_ids, cache=cache, lengths=lengths)


__all__ = ["Passes", "RowPart", "TransformersPasses", "part_embeddings"]
