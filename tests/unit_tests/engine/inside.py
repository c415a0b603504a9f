"""The one place where tests look into the engine: its passes and bytes, and the faults they put into its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from langchain_softprompt.decode import RowStore
from langchain_softprompt.decode.merged import MergedRows
from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model.passes import RowPart
from langchain_softprompt.prefix import PrefixStore


class FaultError(Exception):
    def __str__(self) -> str:
        return "the model is broken"


# What running out of memory looks like: on an accelerator, in Python, and in PyTorch's CPU allocator.
OUT_OF_MEMORY: dict[str, Callable[[], Exception]] = {
    "accelerator": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "python": lambda: MemoryError("no memory left"),
    "cpu": lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 68719476736 bytes."),
}
FAULTS: dict[str, Callable[[], Exception]] = {"exception": FaultError, **OUT_OF_MEMORY}


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of the model: over parts of prompts, or one step of several rows.

    Attributes:
        rows: How many rows take part.
        length: Positions it reads, of all prompts together or of each row.
        tokens: What of it is text, as far as no soft rows stand before it in the same pass.
        has_soft_rows: Whether it reads rows of a soft prompt.
        is_step: Whether rows that are being answered take part.
    """

    rows: int
    length: int
    tokens: tuple[int, ...]
    is_step: bool
    has_soft_rows: bool = False


def rows_of(engine: Engine) -> RowStore:
    return engine._worker._rows


def prefixes_of(engine: Engine) -> PrefixStore:
    return engine._worker._reader.prefixes


@contextmanager
def replaced(place: object, name: str, with_: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Put something else in a method's place, for one object or one class; it is given the method itself."""
    method = getattr(place, name)
    own = name in vars(place)
    setattr(place, name, with_(method))
    try:
        yield
    finally:
        if own:
            setattr(place, name, method)
        else:
            delattr(place, name)


@contextmanager
def each_pass(engine: Engine, look: Callable[[Pass], object]) -> Iterator[None]:
    """Call `look` in the engine's thread before each pass of the model. What it raises, that pass raises."""
    passes, rows = engine.model.passes, rows_of(engine)

    def before_reading(read: Callable[..., Any]) -> Callable[..., Any]:
        def look_and_read(parts: Sequence[RowPart]) -> Any:
            tokens = tuple(token for part in parts if part.input_ids is not None for token in part.input_ids[0].tolist())
            length, soft = sum(part.length for part in parts), any(part.inputs_embeds is not None for part in parts)
            # Rows in native caches step through the same door, one by one.
            is_step = not isinstance(rows, MergedRows) and len(rows) > 0 and length == 1
            look(Pass(len(parts), length, tokens, is_step=is_step, has_soft_rows=soft))
            return read(parts)

        return look_and_read

    def before_step(step: Callable[..., Any]) -> Callable[..., Any]:
        def look_and_step(input_ids: Tensor, *others: Any) -> Any:
            look(Pass(input_ids.shape[0], 1, tuple(input_ids[:, 0].tolist()), is_step=True))
            return step(input_ids, *others)

        return look_and_step

    with replaced(passes, "read", before_reading), replaced(passes, "step", before_step):
        yield


@contextmanager
def failing(
    place: object, name: str, error: Callable[[], Exception] = FaultError, *, when: Callable[..., bool] = lambda *_, **__: True
) -> Iterator[list[int]]:
    """A method raises, whenever its arguments are such; the list grows by one each time it does."""
    raised: list[int] = []

    def instead(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if when(*args, **kwargs):
                raised.append(1)
                raise error()
            return method(*args, **kwargs)

        return call

    with replaced(place, name, instead):
        yield raised


def only_call(number: int) -> Callable[..., bool]:
    """True at one call alone, counted from 0; for `failing`."""
    calls = iter(range(10**9))
    return lambda *_, **__: next(calls) == number


def check_nothing_left(engine: Engine) -> None:
    """No row, no place in the queue and no byte but what is remembered, and that in order and within its budget."""
    worker = engine._worker
    assert len(worker._scheduler) == 0, "a request is still known"
    assert not worker._reading, "a prompt is still being read"
    assert not worker._decoding, "a request is still being answered"
    assert len(worker._rows) == 0, "a row is still held"
    if isinstance(worker._rows, MergedRows):
        assert worker._rows.num_bytes == 0, "rows are gone and their memory is not"
    check_store(prefixes_of(engine))


def check_store(store: PrefixStore) -> None:
    """Every kept run can be reached and let go, and the bytes are those of the runs."""
    order = {run: place for place, run in enumerate(store._runs)}
    found, left = 0, list(store._roots.values())
    while left:
        run = left.pop()
        found += 1
        assert run in order, "a run that can be found is never let go"
        assert run.parent is None or order[run] < order[run.parent], "a run would outlive what it follows"
        assert all(run is child.parent and first == child.token_ids[0] for first, child in run.children.items())
        left += run.children.values()
    assert found == len(order), "a run that is kept can't be found"
    assert store.num_bytes == sum(run.prefix.num_bytes for run in order)
    assert store.num_bytes <= store._max_bytes
