"""Run: a run of tokens with its keys and values, in a tree of runs that share their heads."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from langchain_softprompt.prefix.kv_prefix import KVPrefix


@dataclass(eq=False, slots=True)
class Run:
    """A node of a radix tree (SGLang's RadixAttention, arXiv:2312.07104, keeps its cache this way).

    The root of a tree is a soft prompt, or nothing for the bare model; below it stand runs of text. A run's keys and
    values are right only after its ancestors', so it is found only through them.

    Attributes:
        token_ids: Its text; empty for a root.
        prefix: Its keys and values.
        parent: The run it follows; ``None`` for a root.
        name: What a root is found by.
        children: The runs that follow it, by their first token.
    """

    token_ids: tuple[int, ...]
    prefix: KVPrefix
    parent: Run | None = None
    name: Hashable = None
    children: dict[int, Run] = field(default_factory=dict)

    def ancestry(self) -> Iterator[Run]:
        """The run itself, its parent, and so on to the root."""
        run: Run | None = self
        while run is not None:
            yield run
            run = run.parent

    def follow(self, token_ids: Sequence[int]) -> tuple[list[tuple[Run, int]], int]:
        """Walk down as long as the text agrees.

        Returns:
            The runs on the way with how many of their tokens agree, and how many tokens that is altogether. Only the
            last run may agree in part.
        """
        way: list[tuple[Run, int]] = []
        matched, run = 0, self
        while matched < len(token_ids) and (child := run.children.get(token_ids[matched])) is not None:
            agreeing = _common(child.token_ids, token_ids[matched : matched + len(child.token_ids)])
            way.append((child, agreeing))
            matched += agreeing
            if agreeing < len(child.token_ids):
                break
            run = child
        return way, matched

    def split(self, at: int) -> Run:
        """Cut the run in two after `at` tokens and return the new first half; memory is copied, so each half can go alone."""
        first, second = self.prefix.cut(0, at), self.prefix.cut(at, self.prefix.length)  # All that may fail comes first.
        upper = Run(self.token_ids[:at], first, self.parent)
        if self.parent is not None:
            self.parent.children[upper.token_ids[0]] = upper
        self.prefix = second
        self.token_ids = self.token_ids[at:]
        self.parent = upper
        upper.children[self.token_ids[0]] = self
        return upper

    def join_only_child(self) -> Run | None:
        """Make one run of this one and the only run that follows it, and return that; ``None`` when there is no such one.

        A head that texts left at many places is cut at each; once they are gone, it need not stay in pieces.
        """
        if self.parent is None or len(self.children) != 1:
            return None
        (child,) = self.children.values()
        self.prefix = self.prefix.joined(child.prefix)
        self.token_ids += child.token_ids
        self.children = child.children
        for run in self.children.values():
            run.parent = self
        return child


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    length = min(len(one), len(other))
    if tuple(one[:length]) == tuple(other[:length]):
        return length
    return next(place for place in range(length) if one[place] != other[place])


__all__ = ["Run"]
