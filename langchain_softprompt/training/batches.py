"""The order in which examples are learned from: the same for one seed, whoever asks and wherever they begin."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice

from langchain_softprompt.data import Example

_BATCHES_A_POOL = 8


def batches(examples: Sequence[Example], size: int, seed: int, *, done: int = 0) -> Iterator[list[int]]:
    """Endless batches of indices: each pass over the data is shuffled, and examples of like length travel together.

    Args:
        examples: What to learn from.
        size: Examples a batch.
        seed: Seed of the order.
        done: How many batches were taken already.
    """
    return islice(_endless([len(example) for example in examples], size, random.Random(seed)), done, None)


def _endless(lengths: Sequence[int], size: int, order: random.Random) -> Iterator[list[int]]:
    while True:
        shuffled = list(range(len(lengths)))
        order.shuffle(shuffled)
        for at in range(0, len(shuffled), size * _BATCHES_A_POOL):
            pool = sorted(shuffled[at : at + size * _BATCHES_A_POOL], key=lengths.__getitem__)
            made = [pool[start : start + size] for start in range(0, len(pool), size)]
            order.shuffle(made)
            yield from made


__all__ = ["batches"]
