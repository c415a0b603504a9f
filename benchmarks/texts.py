"""Texts nobody has seen before, each of an exact number of tokens, and the soft prompts that requests ask for."""

from __future__ import annotations

import itertools
import random
import re
from bisect import bisect
from collections.abc import Callable, Sequence

_WORD = re.compile(r"[a-z]{3,9}")


class Texts:
    """Draws texts of random words, never the same twice, so that no engine can have remembered one.

    Args:
        words: Words that are one token each, also with a space before them.
        seed: Of the random draw.
    """

    def __init__(self, words: Sequence[str], seed: int = 0) -> None:
        if len(words) < 2:
            msg = f"Texts need at least two words to be drawn from, found {len(words)}."
            raise ValueError(msg)
        self._words = list(words)
        self._random = random.Random(seed)
        self._seen: set[str] = set()

    def fresh(self, tokens: int) -> str:
        """A text of so many tokens that was never handed out before."""
        for _ in range(1000):
            text = " ".join(self._random.choices(self._words, k=tokens))
            if text not in self._seen:
                self._seen.add(text)
                return text
        msg = f"{len(self._words)} words make no further text of {tokens} tokens."
        raise ValueError(msg)


def one_token_words(vocabulary: Sequence[str], count_tokens: Callable[[str], int], most: int = 2000) -> list[str]:
    """Plain words that are one token at the start of a text and after a space, so that a text's length is that of its word list.

    Args:
        vocabulary: The tokenizer's tokens, in any order.
        count_tokens: The tokenizer.
        most: How many are enough.
    """
    words = (word for word in sorted(vocabulary) if _WORD.fullmatch(word))
    good = (word for word in words if count_tokens(word) == 1 and count_tokens(" " + word) == 1)
    return list(itertools.islice(good, most))


def turns(names: Sequence[str], count: int) -> list[str]:
    """So many requests over these soft prompts, in turn."""
    return [names[number % len(names)] for number in range(count)]


def zipf(names: Sequence[str], count: int, seed: int, exponent: float = 1.0) -> list[str]:
    """So many requests over these soft prompts by Zipf's law: the n-th is asked for in proportion to n ** -exponent."""
    weights = list(itertools.accumulate((rank + 1) ** -exponent for rank in range(len(names))))
    draw = random.Random(seed)
    return [names[bisect(weights, draw.random() * weights[-1], hi=len(names) - 1)] for _ in range(count)]
