"""Prefill: read a prompt chunk by chunk on top of what is known of it; several prompts in one pass where the model can."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import Cache

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.passes import RowPart
from langchain_softprompt.prefix import KVPrefix


class Prefill:
    """One prompt being read.

    In a cache of its own, because a batch of prompts would put padding between prefix and text, which moves the window of
    sliding-window layers. In chunks, so that a long prompt does not hold up the rows that decode meanwhile.

    Args:
        model: The frozen model.
        known: Compiled parts the row starts from, in order; nothing of them is read again.
        soft_rows: Rows of a soft prompt that is not compiled yet, ``[length, hidden_size]``, read before the text.
        token_ids: The text still to be read.
        spare: Columns that will be read after the text, in the same cache.

    Attributes:
        cache: What was read so far.
        length: How many positions that is.
        snapshot: For models with native caches, a copy of the cache right after the soft rows.
    """

    def __init__(
        self,
        model: FrozenModel,
        known: Sequence[KVPrefix] = (),
        soft_rows: Tensor | None = None,
        token_ids: Sequence[int] = (),
        spare: int = 0,
    ) -> None:
        self._model = model
        self._ids = torch.tensor([list(token_ids)], dtype=torch.long, device=model.device)
        rereads = [part.embeddings for part in known if part.embeddings is not None and not part.compiled]
        self._soft_rows = torch.cat(rereads) if rereads else soft_rows
        self._soft_left = 0 if self._soft_rows is None else self._soft_rows.shape[0]
        self._text_read = 0
        self._spare = spare
        self.snapshot: Cache | None = None
        self.length = 0
        self.cache = self._start_from([part for part in known if part.compiled])

    @property
    def remaining(self) -> int:
        """Positions still to be read."""
        return self._soft_left + self._ids.shape[1] - self._text_read

    def advance(self, limit: int | None = None) -> Tensor | None:
        """Read up to `limit` positions; all that remain when ``None``.

        Returns:
            Once everything is read, the logits after the last token, shape ``[vocab_size]``; else ``None``.
        """
        part = self.next_part(limit)
        (logits,) = self._model.passes.read([part])
        return self.took(part, logits)

    def next_part(self, limit: int | None = None) -> RowPart:
        """What to read next, up to `limit` positions.

        Models that can't continue from a prefix read everything at once, whatever the limit.
        """
        size = self.remaining if limit is None or self._all_at_once else min(max(limit, 1), self.remaining)
        if self._soft_left and self._model.snapshots_prefix:
            size = self._soft_left  # The copy must stand exactly between soft prompt and text.
        soft = min(self._soft_left, size)
        ids = self._ids[:, self._text_read : self._text_read + size - soft]
        ends = size == self.remaining
        if not soft or self._soft_rows is None:
            return RowPart(self.cache, self.length, input_ids=ids, wants_logits=ends)
        first = self._soft_rows.shape[0] - self._soft_left
        embeds = self._soft_rows[first : first + soft][None]
        if ids.shape[1]:
            embeds = torch.cat([embeds, self._model.embed(ids)], dim=1)
        return RowPart(self.cache, self.length, inputs_embeds=embeds, wants_logits=ends)

    def took(self, part: RowPart, logits: Tensor | None) -> Tensor | None:
        """Move on behind a part that was read; returns the logits if it was the last."""
        soft = min(self._soft_left, part.length)
        self._soft_left -= soft
        self._text_read += part.length - soft
        self.length += part.length
        if soft and not self._soft_left and self._model.snapshots_prefix:
            self.snapshot = copy.deepcopy(self.cache)
        return None if self.remaining else logits

    def positions(self, start: int, end: int) -> KVPrefix | None:
        """What was read at some positions, as views; ``None`` when the cache can't be cut."""
        if not isinstance(self.cache, ColumnCache):
            return None
        return KVPrefix(end - start, tuple(self.cache.read(0, start, end).values()))

    @property
    def columns(self) -> int:
        """Columns its cache holds; 0 for a native one, which becomes the row's own."""
        return self.cache.capacity if isinstance(self.cache, ColumnCache) else 0

    @property
    def _all_at_once(self) -> bool:
        return not (self._model.reuses_prefix or self._model.snapshots_prefix)

    def _start_from(self, known: Sequence[KVPrefix]) -> Cache:
        if not self._model.reuses_prefix:
            cache = known[0].to_cache(self._model) if known else self._model.new_cache()
            self.length = sum(part.length for part in known)
            return cache
        columns = ColumnCache(1, sum(part.length for part in known) + self.remaining + self._spare)
        for part in known:
            for index, (keys, values) in part.by_layer().items():
                columns.write(index, 0, self.length, keys, values)
            self.length += part.length
        columns.window.end = self.length
        return columns


class Reading(Protocol):
    """Something that is read part by part: a prompt, or what may follow one."""

    @property
    def remaining(self) -> int:
        """Positions still to be read."""
        ...

    @property
    def columns(self) -> int:
        """Columns its cache holds; 0 for a native one."""
        ...

    def next_part(self, limit: int | None = None) -> RowPart:
        """What to read next, up to `limit` positions."""
        ...

    def took(self, part: RowPart, logits: Tensor | None) -> Tensor | None:
        """Move on behind a part that was read; returns what there is to say once all is read."""
        ...


def read_together(model: FrozenModel, prefills: Sequence[Reading], limit: int) -> list[Tensor | Exception | None]:
    """Read on in several prompts, up to `limit` positions altogether, in one pass where the model can.

    When a pass over several fails, each is read alone, so that only those at fault fail.

    Args:
        model: The frozen model.
        prefills: The prompts, or what is read after them, first come first served; those behind the limit get nothing.
        limit: Most positions to read.

    Returns:
        For each what it has to say once everything is read, a prompt the logits after its last token; else ``None``, or what
        went wrong.
    """
    outcome: list[Tensor | Exception | None] = [None] * len(prefills)
    parts: dict[int, RowPart] = {}
    for number, prefill in enumerate(prefills):
        if limit <= 0:
            break
        try:
            parts[number] = prefill.next_part(limit)
            limit -= parts[number].length
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this prompt's alone.
            outcome[number] = error
    for (number, part), logits in zip(parts.items(), _read(model, list(parts.values())), strict=True):
        outcome[number] = logits if isinstance(logits, Exception) else _take(prefills[number], part, logits)
    return outcome


def _take(prefill: Reading, part: RowPart, logits: Tensor | None) -> Tensor | Exception | None:
    try:
        return prefill.took(part, logits)
    except Exception as error:  # noqa: BLE001 - to copy a native cache takes memory, and that is this prompt's alone too.
        return error


def _read(model: FrozenModel, parts: Sequence[RowPart]) -> list[Tensor | Exception | None]:
    if len(parts) > 1 and model.passes.reads_together:
        try:
            return list(model.passes.read(parts))
        except Exception:  # noqa: BLE001, S110 - out of memory, say; alone they may fit, and the error comes again if not.
            pass
    return [_read_alone(model, part) for part in parts]


def _read_alone(model: FrozenModel, part: RowPart) -> Tensor | Exception | None:
    try:
        return model.passes.read([part])[0]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this prompt's alone.
        return error


__all__ = ["Prefill", "Reading", "read_together"]
