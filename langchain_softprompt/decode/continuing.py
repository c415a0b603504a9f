"""Continuing: given continuations, read after a prompt for the log-probability of each of their tokens."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor
from transformers import Cache

from langchain_softprompt.decode.tree import TokenTree
from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.branches import Branches
from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.passes import RowPart

# Logits of one part: 64 MB in float32, some hundred positions of a large vocabulary.
_LOGITS = 1 << 24


class Continuing(ABC):
    """Continuations of one prompt being read, part by part. Tokens that nothing follows are not read.

    Args:
        model: The frozen model.
        tree: The continuations.
        cache: The prompt; belongs to this object from now on.
        length: How many positions it has.
        logits: What the model says after it, ``[vocab_size]``.

    Raises:
        RequestFailedError: The logits hold NaN or infinity, or there is none for a token.
    """

    def __init__(self, model: FrozenModel, tree: TokenTree, cache: Cache, length: int, logits: Tensor) -> None:
        self._model = model
        self._tree = tree
        self._cache = cache
        self._length = length
        self._read = 0  # of the inner nodes, in their order
        self._nodes: list[int] = []  # of the part under way
        self._most = max(1, _LOGITS // logits.shape[-1])
        self.log_probs = torch.zeros(len(tree))
        self._score([-1], logits[None])

    @property
    def remaining(self) -> int:
        """Positions still to be read."""
        return len(self._tree.inner) - self._read

    @property
    def columns(self) -> int:
        """Columns the cache holds; 0 for a native one."""
        return self._cache.capacity if isinstance(self._cache, ColumnCache) else 0

    def next_part(self, limit: int | None = None) -> RowPart:
        """What to read next, up to `limit` positions."""
        return self._part(min(self._most, self.remaining if limit is None else max(1, limit)))

    def took(self, part: RowPart, logits: Tensor | None) -> Tensor | None:
        """Move on behind a part that was read.

        Returns:
            Once everything is read, the natural-log probability of each node of the tree.

        Raises:
            RequestFailedError: As at the beginning.
        """
        del part
        nodes = self._nodes
        self._score(nodes, cast("Tensor", logits))
        self._read += sum(node >= self._tree.inner[self._read] for node in nodes)
        return None if self.remaining else self.log_probs

    @abstractmethod
    def _part(self, limit: int) -> RowPart: ...

    def _score(self, nodes: list[int], logits: Tensor) -> None:
        """Write down what the model thinks of the nodes that follow these, given its logits after them, ``[nodes, vocab_size]``."""
        pairs = [(place, child) for place, node in enumerate(nodes) for child in self._tree.children.get(node, ())]
        places = [place for place, _ in pairs]
        followers = [child for _, child in pairs]
        tokens = [self._tree.tokens[child] for child in followers]
        size = logits.shape[-1]
        if tokens and max(tokens) >= size:
            msg = f"Token {max(tokens)} has no logit: {self._model.name} writes only the tokens 0 to {size - 1}. Leave it out."
            raise RequestFailedError(msg)
        logits = logits.float()
        total = logits.logsumexp(dim=-1)
        if not bool(torch.isfinite(total).all()):
            msg = "The model's logits for this request hold NaN or infinity. Check the soft prompt and the model's dtype (try float32)."
            raise RequestFailedError(msg)
        self.log_probs[followers] = (logits[places, tokens] - total[places]).cpu()

    def _run(self, limit: int) -> list[int]:
        """The next unread nodes, as long as each follows the one before it."""
        unread = self._tree.inner[self._read : self._read + limit]
        run = unread[:1]
        for node in unread[1:]:
            if self._tree.parents[node] != run[-1]:
                break
            run.append(node)
        return run

    def _ids(self, nodes: list[int]) -> Tensor:
        return torch.tensor([[self._tree.tokens[node] for node in nodes]], dtype=torch.long, device=self._model.device)


class InBranches(Continuing):
    """All branches in one pass, each position seeing its own way back: for models that can be shown a tree.

    What the next part builds on is kept, in a row right after the prompt; the rest of the last part is written over.
    """

    _columns: dict[int, int]

    def _part(self, limit: int) -> RowPart:
        tree, cache = self._tree, cast("ColumnCache", self._cache)
        first = tree.inner[self._read]
        way = tree.way(first)[:-1]
        past = self._length + len(way)
        columns = [self._columns[node] for node in way] if way else []
        if columns != list(range(self._length, past)):
            cache.gather(0, self._length, columns)
        cache.window.end = past
        self._nodes = nodes = tree.inner[self._read : self._read + min(limit, cache.capacity - past)]
        self._columns = {node: self._length + place for place, node in enumerate(way + nodes)}
        return RowPart(cache, past, self._ids(nodes), wants_all=True, branches=self._branches(nodes, past))

    def _branches(self, nodes: list[int], past: int) -> Branches:
        device = self._model.device
        seen = torch.zeros(len(nodes), past + len(nodes), dtype=torch.bool)
        seen[:, : self._length] = True
        pairs = [(row, self._columns[before]) for row, node in enumerate(nodes) for before in self._tree.way(node)]
        rows, columns = zip(*pairs, strict=True)
        seen[list(rows), list(columns)] = True
        positions = torch.tensor([self._length + self._tree.depths[node] for node in nodes])
        return Branches(positions.to(device), seen.to(device))


class InTurn(Continuing):
    """One branch after another in the prompt's own columns: where the next one leaves the last, it is written over."""

    def _part(self, limit: int) -> RowPart:
        cache = cast("ColumnCache", self._cache)
        self._nodes = self._run(limit)
        past = cache.window.end = self._length + self._tree.depths[self._nodes[0]]
        return RowPart(cache, past, self._ids(self._nodes), wants_all=True)


class InCopies(Continuing):
    """Each branch on a copy of the prompt's native cache, which can't be taken back to an earlier position."""

    _copy: Cache | None = None
    _end = -1  # the node that the copy has read last

    def _part(self, limit: int) -> RowPart:
        if not self._model.snapshots_prefix:
            limit = 1  # Such models continue token by token only.
        last, first = self._nodes[-1] if self._nodes else -1, self._tree.inner[self._read]
        way = self._tree.way(first)
        if self._copy is None or last not in way[:-1]:
            self._copy = None  # before the next one is made
            self._copy, last = copy.deepcopy(self._cache), -1
        unread = way[way.index(last) + 1 :] if last >= 0 else way
        self._nodes = (unread[:-1] + self._run(limit))[:limit]
        past = self._length + self._tree.depths[self._nodes[0]]
        return RowPart(self._copy, past, self._ids(self._nodes), wants_all=True)


def continue_prompt(model: FrozenModel, tree: TokenTree, cache: Cache, length: int, logits: Tensor) -> Continuing:
    """Continuations of a prompt in the fastest way that is exact for the model; arguments and errors as of `Continuing`."""
    if not model.reuses_prefix:
        return InCopies(model, tree, cache, length, logits)
    return (InBranches if model.reads_branches else InTurn)(model, tree, cache, length, logits)


__all__ = ["Continuing", "continue_prompt"]
