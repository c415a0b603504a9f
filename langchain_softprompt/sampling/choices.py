"""Choices: an answer that is one of several given ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from langchain_softprompt.errors import InvalidSettingsError


@dataclass(slots=True)
class _Node:
    """A place in the tree of answers.

    Attributes:
        following: The tokens that may come here, and where they lead.
        ends: Whether an answer may end here.
    """

    following: dict[int, _Node] = field(default_factory=dict)
    ends: bool = False


class Choices:
    """One of several given answers, each followed by a token that ends it.

    The answers stand in a tree by their tokens, and what may come next is what some answer has there. Greedy decoding
    takes the likeliest branch at each fork, which is not always the likeliest whole answer.

    Args:
        answers: The answers' tokens, without the token that ends them.

    Raises:
        InvalidSettingsError: There are none, or one is empty.

    Attributes:
        answers: The answers' tokens, each answer once, in the given order.
        longest: Most tokens of an answer, without the token that ends it.
    """

    def __init__(self, answers: Iterable[Iterable[int]]) -> None:
        self._root = _Node()
        given: dict[tuple[int, ...], None] = {}  # a set that keeps its order
        self._tokens: set[int] = set()
        self.longest = 0
        for answer in answers:
            tokens = tuple(answer)
            if not tokens:
                msg = "choices: an answer has no tokens. Leave empty answers out."
                raise InvalidSettingsError(msg)
            given[tokens] = None
            self._tokens.update(tokens)
            self.longest = max(self.longest, len(tokens))
            node = self._root
            for token in tokens:
                node = node.following.setdefault(token, _Node())
            node.ends = True
        if not self.longest:
            msg = "choices: expected at least one answer, found none."
            raise InvalidSettingsError(msg)
        self.answers = tuple(given)

    def start(self, stop_ids: frozenset[int]) -> ChoicesState:
        """Begin an answer; see `Constraint.start`.

        Raises:
            InvalidSettingsError: An answer holds a token that ends answers, so it could never be finished.
        """
        inside = self._tokens & stop_ids
        if inside:
            msg = f"choices: token {min(inside)} ends answers, and stands inside one. Give the answers without their end."
            raise InvalidSettingsError(msg)
        return ChoicesState(self._root, stop_ids)


class ChoicesState:
    """Where in the tree an answer has come to; see `ConstraintState`."""

    def __init__(self, root: _Node, stop_ids: frozenset[int]) -> None:
        self._node = root
        self._stop_ids = stop_ids

    def mask(self, size: int) -> Tensor | None:
        """What some answer has at this place."""
        allowed = [*self._node.following, *(self._stop_ids if self._node.ends else ())]
        mask = torch.zeros(size, dtype=torch.bool)
        mask[[token for token in allowed if token < size]] = True  # An embedding may have more rows than there are logits.
        return mask

    def accept(self, token: int) -> bool:
        """Go on to where a token leads; a token that ends the answer leads nowhere."""
        self._node = self._node.following.get(token, _Node(ends=True))
        return not self._node.following


__all__ = ["Choices", "ChoicesState"]
