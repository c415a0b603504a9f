"""Reader: prompts become rows, on top of what was read before."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from langchain_softprompt.decode import Continuing, Prefill, Reading, RowStore, TokenTree, continue_prompt, read_together
from langchain_softprompt.engine.request import Request
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import (
    SHORTEST_RUN,
    EmbeddingRows,
    KeyValues,
    KVPrefix,
    PrefixStore,
    check_finite,
    compile_segments,
    non_finite_answers,
    soft_segment,
    watch_drift,
)
from langchain_softprompt.sampling import Sampler
from langchain_softprompt.soft_prompt import SoftPrompt

logger = logging.getLogger(__name__)


class Reader:
    """Reads prompts chunk by chunk and remembers them for requests that start alike.

    Args:
        model: The frozen model.
        max_bytes: Most memory for what is remembered.
    """

    def __init__(self, model: FrozenModel, max_bytes: int) -> None:
        self._model = model
        self._max_bytes = max_bytes
        self._prefixes = PrefixStore(model, max_bytes)

    @property
    def prefixes(self) -> PrefixStore:
        """What is remembered."""
        return self._prefixes

    def advance(self, requests: Iterable[Request], limit: int, room: int | None = None) -> list[tuple[Request, Tensor | Exception]]:
        """Read on in prompts and continuations, first come first served, several in one pass where the model can.

        A request that starts like one whose turn it is, beyond what is known, waits until that one has been read, and then
        starts from there: what they share is read once, also when they arrive together.

        Args:
            requests: Those that are being read; a request's first turn looks up what of its prompt is known.
            limit: Most positions to read altogether.
            room: Columns that their caches may hold together; the first one is not asked.

        Returns:
            Those whose prompts are done, with the logits after them, those whose continuations are, with the log-probabilities,
            and those that failed, with the reason.
        """
        ended: list[tuple[Request, Tensor | Exception]] = []
        turns: list[tuple[Request, Reading]] = []
        known = list(requests)
        held = sum(request.columns for request in known)
        full = False
        for request in known:
            if sum(reading.remaining for _, reading in turns) >= limit:
                break
            try:
                if request.reading is None:
                    full = full or (bool(held) and room is not None and held + request.length + request.spare > room)
                    if full or any(other.prefill is not None and self._leads(other, request) for other, _ in turns):
                        continue
                    request.prefill = self._start(request)
                    held += request.columns
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's alone.
                ended.append((request, error))
                continue
            if request.reading is not None:
                turns.append((request, request.reading))
        outcomes = read_together(self._model, [reading for _, reading in turns], limit)
        return ended + [(request, outcome) for (request, _), outcome in zip(turns, outcomes, strict=True) if outcome is not None]

    def hand_over(self, request: Request, logits: Tensor, rows: RowStore, beside: int = 0) -> None:
        """Remember a prompt that was read to its end and give its row to the rows that decode.

        Args:
            request: Whose prompt it was.
            logits: What the model says after it.
            rows: The rows that decode.
            beside: See `RowStore.add`.

        Raises:
            NonFiniteSoftPromptError: With this soft prompt, read for the first time, the model makes NaN or Inf; nothing
                is remembered of it.
        """
        prefill = self._remember(request, logits)
        rows.add(request.row, prefill.cache, prefill.length, request.size, beside)
        request.prefill = None

    def branch_out(self, request: Request, tree: TokenTree, logits: Tensor) -> Continuing:
        """Remember a prompt that was read to its end and go on with the continuations that are to be scored.

        Raises:
            NonFiniteSoftPromptError: As in `hand_over`.
            RequestFailedError: The logits hold NaN or infinity, or there is none for a token.
        """
        prefill = self._remember(request, logits)
        request.continuing = continue_prompt(self._model, tree, prefill.cache, prefill.length, logits)
        request.prefill = None
        return request.continuing

    def _remember(self, request: Request, logits: Tensor) -> Prefill:
        prefill = request.prefill
        if prefill is None:
            msg = "The prompt was not read."
            raise RuntimeError(msg)
        finite = bool(torch.isfinite(logits.max()))
        if request.soft_prompt is not None and request.soft is None:
            if not finite:
                raise non_finite_answers()
            request.soft = self._compiled(prefill, request.handle.virtual_tokens)
            self._watch_drift(request.soft_prompt, request.soft)
        if finite:
            self._keep(request, request.token_ids, prefill)
        return prefill

    def keep_answer(self, request: Request, answer: tuple[int, ...], rows: RowStore) -> None:
        """Remember the answer after its prompt: the next turn of a chat or an agent starts with both."""
        with _only_a_favour():
            read = rows.length(request.row) - request.length
            self._keep(request, request.token_ids + answer[:read], rows)

    def clear(self) -> None:
        """Forget everything."""
        self._prefixes = PrefixStore(self._model, self._max_bytes)

    def _leads(self, leader: Request, request: Request) -> bool:
        """Whether reading one request will spare another one more than is known by now."""
        if not self._max_bytes or leader.soft_name != request.soft_name:
            return False
        if request.soft_prompt is not None and leader.soft is None:
            return True
        if not self._model.reuses_prefix:
            return False
        known = self._prefixes.find(request.soft_prompt, request.token_ids, allow_other_model=request.allow_other_model)
        reach = known.text_tokens + SHORTEST_RUN
        head = request.token_ids[:reach]
        return len(head) == reach and leader.token_ids[:reach] == head

    def _start(self, request: Request) -> Prefill:
        if request.tree is None:
            constraint = request.constraint.start(request.stop_ids) if request.constraint is not None else None
            request.sampler = Sampler(request.settings, request.token_ids, constraint)
        prompt, allow = request.soft_prompt, request.allow_other_model
        found = self._prefixes.find(prompt, request.token_ids, allow_other_model=allow)
        request.handle.cached_tokens = found.virtual_tokens + found.text_tokens
        text = request.token_ids[found.text_tokens :]
        if prompt is None or found.virtual_tokens:
            request.soft = found.parts[0] if prompt is not None else None
            return Prefill(self._model, found.parts, token_ids=text, spare=request.spare)
        segment = soft_segment(self._model, prompt, allow_other_model=allow)
        if isinstance(segment, KeyValues):
            return Prefill(self._model, [compile_segments(self._model, [segment])], token_ids=text, spare=request.spare)
        return Prefill(self._model, soft_rows=segment.rows, token_ids=text, spare=request.spare)

    def _compiled(self, prefill: Prefill, length: int) -> KVPrefix | None:
        """The soft prompt's part of what was read; ``None`` where the model has to read it each time."""
        part = prefill.positions(0, length)
        soft = part or (KVPrefix(length, snapshot=prefill.snapshot) if prefill.snapshot else None)
        if soft is not None:
            check_finite(soft)
            with _only_a_favour():
                return soft.copied() if part is not None else soft
        return None

    def _watch_drift(self, soft_prompt: SoftPrompt, soft: KVPrefix | None) -> None:
        """Read its probes, should this be the first time: at most a chunk, before the first answer is handed out."""
        rows = None if soft is not None else soft_prompt.embedding_rows()
        if soft is not None:
            watch_drift(self._model, soft_prompt, lambda: soft)
        elif rows is not None and not (self._model.reuses_prefix or self._model.snapshots_prefix):
            watch_drift(self._model, soft_prompt, lambda: compile_segments(self._model, [EmbeddingRows(rows)]))

    def _keep(self, request: Request, token_ids: tuple[int, ...], read: Prefill | RowStore) -> None:
        virtual = request.handle.virtual_tokens

        def text(start: int, end: int) -> KVPrefix:
            part = (
                read.positions(virtual + start, virtual + end)
                if isinstance(read, Prefill)
                else read.positions(request.row, virtual + start, virtual + end)
            )
            return part or KVPrefix(0)

        with _only_a_favour():
            self._prefixes.keep(
                request.soft_prompt,
                token_ids,
                soft=request.soft,
                text=text if self._model.reuses_prefix else None,
                allow_other_model=request.allow_other_model,
            )


@contextmanager
def _only_a_favour() -> Iterator[None]:
    """To remember is a favour to later requests; when it fails, for want of memory say, the one that was read is served."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer does not need it.
        logger.warning("What was read is not remembered: %s: %s", type(error).__name__, error)


__all__ = ["Reader"]
