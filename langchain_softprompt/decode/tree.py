"""TokenTree: continuations of a prompt, their shared beginnings once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class TokenTree:
    """A tree of tokens. A node comes after the one it follows, and all that follows it comes before its next sibling.

    Args:
        continuations: Token ids of each, at least one token; equal ones share all their nodes.

    Attributes:
        tokens: The token of each node.
        parents: The node that each follows; -1 for the prompt.
        depths: How many nodes stand before each on its way.
        inner: The nodes that something follows: only those have to be read.
    """

    def __init__(self, continuations: Iterable[Sequence[int]]) -> None:
        given = [tuple(continuation) for continuation in continuations]
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        ways: dict[tuple[int, ...], tuple[int, ...]] = {}
        way: list[int] = []
        # In this order a continuation comes right after those it shares most with.
        for continuation in sorted(set(given)):
            way = way[: self._shared(way, continuation)]
            for token in continuation[len(way) :]:
                self.tokens.append(token)
                self.parents.append(way[-1] if way else -1)
                self.depths.append(len(way))
                way.append(len(self.tokens) - 1)
            ways[continuation] = tuple(way)
        self._ways = [ways[continuation] for continuation in given]
        followed = {parent for parent in self.parents if parent >= 0}
        self.inner = sorted(followed)
        self.children: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parents):
            self.children.setdefault(parent, []).append(node)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def longest(self) -> int:
        """Most tokens of a continuation."""
        return max(self.depths, default=-1) + 1

    def way(self, node: int) -> list[int]:
        """The nodes from the prompt to this one, itself included."""
        way = []
        while node >= 0:
            way.append(node)
            node = self.parents[node]
        return way[::-1]

    def by_continuation(self, values: Sequence[float]) -> tuple[tuple[float, ...], ...]:
        """What is known of each node, as what is known of each token of each continuation."""
        return tuple(tuple(values[node] for node in way) for way in self._ways)

    def _shared(self, way: Sequence[int], continuation: Sequence[int]) -> int:
        count = 0
        while count < min(len(way), len(continuation)) and self.tokens[way[count]] == continuation[count]:
            count += 1
        return count


__all__ = ["TokenTree"]
