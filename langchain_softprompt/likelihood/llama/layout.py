"""Layout: the distinct positions of a batch, and blocks of rows in which they attend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_softprompt.data import Example

# A block is padded to its longest row. A new one begins where that would waste more than half of its scores, unless they
# are so few that starting costs more.
_WASTE = 1.5
_FEW_SCORES = 4096


@dataclass(frozen=True, slots=True)
class _Segment:
    """The positions that a row is the first to have.

    Attributes:
        path: All positions of the row, by number.
        asking: Which of them ask here, by their place in the path.
    """

    path: tuple[int, ...]
    asking: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Rows that attend together, padded to the longest.

    Attributes:
        rows: How many.
        queries: Queries of the row that has most.
        columns: Positions of the longest row.
        start: Where their queries begin among all that ask.
        end: And where they end.
        padded: For each of ``rows * queries`` places which query stands there, from `start`; ``None`` when they stand so already.
        places: Of each query its place among ``rows * queries``; ``None`` as before.
        nodes: For each of ``rows * columns`` places which position stands there.
        depths: Of each place for a query how many positions its row has before it, ``[rows, queries]``.
    """

    rows: int
    queries: int
    columns: int
    start: int
    end: int
    padded: Tensor | None
    places: Tensor | None
    nodes: Tensor
    depths: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Asking:
    """Who looks at what in a layer.

    Attributes:
        nodes: The positions that ask, by number; ``None`` for all.
        blocks: Their rows, in the same order.
        owner: For each position where it stands first among the columns of all blocks; 0 where it stands nowhere.
        unseen: Positions that stand nowhere.
        repeats: Where the others stand that stand more than once, and which positions they are.
    """

    nodes: Tensor | None
    blocks: tuple[Block, ...]
    owner: Tensor
    unseen: Tensor
    repeats: tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """The positions of a batch, each once: where rows begin alike, they share them.

    Attributes:
        ids: The token at each position.
        depths: How many positions its row has before it.
        everyone: All positions ask.
        wanted: Only those ask after which a completion token comes.
        predicting: For each completion token of the batch, row after row, after which of the wanted positions it comes.
    """

    ids: Tensor
    depths: Tensor
    everyone: Asking
    wanted: Asking
    predicting: Tensor

    @classmethod
    def of(cls, batch: Sequence[Example], device: torch.device) -> Layout:
        """Lay out a batch. Texts must not be empty: the first completion token comes after their last."""
        tree = _Tree()
        for example in batch:
            tree.add((*example.text, *example.completion)[:-1])
        # Rows with as many positions of their own stand together; their queries then need no padding.
        order = sorted(range(len(tree.new)), key=lambda row: (tree.new[row], len(tree.paths[row])))
        number: dict[int, int] = {}
        for row in order:
            for node in tree.own(row):
                number[node] = len(number)
        paths = [tuple(number[node] for node in path) for path in tree.paths]
        wanted = {node for path, example in zip(paths, batch, strict=True) for node in path[len(example.text) - 1 :]}
        everyone, some = [], []
        for row in order:
            if not tree.new[row]:
                continue
            path = paths[row]
            own = range(len(path) - tree.new[row], len(path))
            everyone.append(_Segment(path, tuple(own)))
            asking = tuple(at for at in own if path[at] in wanted)
            if asking:
                some.append(_Segment(path, asking))
        asked = [segment.path[at] for segment in some for at in segment.asking]
        place = {node: at for at, node in enumerate(asked)}
        predicting = [place[node] for path, example in zip(paths, batch, strict=True) for node in path[len(example.text) - 1 :]]
        nodes = sorted(number, key=number.__getitem__)
        return cls(
            ids=_indices([tree.tokens[node] for node in nodes], device),
            depths=_indices([tree.depths[node] for node in nodes], device),
            everyone=_asking(None, everyone, len(nodes), device),
            wanted=_asking(asked, some, len(nodes), device),
            predicting=_indices(predicting, device),
        )


class _Tree:
    """Rows that begin alike share their first nodes."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.paths: list[list[int]] = []
        self.new: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def add(self, tokens: Sequence[int]) -> None:
        """Add a row. Nodes it is the first to have are always its last."""
        path, known = [], len(self.tokens)
        node = -1
        for depth, token in enumerate(tokens):
            child = self._children.setdefault((node, token), len(self.tokens))
            if child == len(self.tokens):
                self.tokens.append(token)
                self.depths.append(depth)
            path.append(child)
            node = child
        self.paths.append(path)
        self.new.append(len(self.tokens) - known)

    def own(self, row: int) -> list[int]:
        """The nodes that a row was the first to have."""
        path = self.paths[row]
        return path[len(path) - self.new[row] :]


def _asking(nodes: Sequence[int] | None, segments: Sequence[_Segment], positions: int, device: torch.device) -> Asking:
    blocks, start = [], 0
    owner: dict[int, int] = {}
    again: list[tuple[int, int]] = []
    column = 0
    for group in _groups(segments):
        blocks.append(_block(group, start, device))
        start = blocks[-1].end
        for row, segment in enumerate(group):
            for at, node in enumerate(segment.path):
                place = column + row * blocks[-1].columns + at
                if owner.setdefault(node, place) != place:
                    again.append((place, node))
        column += blocks[-1].rows * blocks[-1].columns
    return Asking(
        nodes=None if nodes is None else _indices(nodes, device),
        blocks=tuple(blocks),
        owner=_indices([owner.get(node, 0) for node in range(positions)], device),
        unseen=_indices([node for node in range(positions) if node not in owner], device),
        repeats=(_indices([place for place, _ in again], device), _indices([node for _, node in again], device)),
    )


def _groups(segments: Sequence[_Segment]) -> list[list[_Segment]]:
    groups: list[list[_Segment]] = []
    scores = queries = columns = 0
    for segment in segments:
        asking, length = len(segment.asking), len(segment.path)
        padded = (len(groups[-1]) + 1) * max(queries, asking) * max(columns, length) if groups else 0
        if not groups or padded > _WASTE * (scores + asking * length) + _FEW_SCORES:
            groups.append([])
            scores = queries = columns = 0
        groups[-1].append(segment)
        scores, queries, columns = scores + asking * length, max(queries, asking), max(columns, length)
    return groups


def _block(group: Sequence[_Segment], start: int, device: torch.device) -> Block:
    queries = max(len(segment.asking) for segment in group)
    columns = max(len(segment.path) for segment in group)
    padded: list[int] = []
    places: list[int] = []
    nodes: list[int] = []
    depths: list[int] = []
    end = start
    for row, segment in enumerate(group):
        asking = len(segment.asking)
        # What fills a row up is looked at by nobody, and what it looks at itself is thrown away.
        padded += [*range(end - start, end - start + asking), *[end - start] * (queries - asking)]
        places += range(row * queries, row * queries + asking)
        depths += [*segment.asking, *[0] * (queries - asking)]
        nodes += [*segment.path, *segment.path[:1] * (columns - len(segment.path))]
        end += asking
    full = end - start == len(group) * queries
    return Block(
        rows=len(group),
        queries=queries,
        columns=columns,
        start=start,
        end=end,
        padded=None if full else _indices(padded, device),
        places=None if full else _indices(places, device),
        nodes=_indices(nodes, device),
        depths=_indices(depths, device).view(len(group), queries),
    )


def _indices(numbers: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=torch.long, device=device)


__all__ = ["Asking", "Block", "Layout"]
