"""What an answer is held to, as a grammar that travels; and whether the server has held it to that."""

from __future__ import annotations

from langchain_softprompt.errors import InvalidGrammarError, RequestFailedError, ServerMismatchError
from langchain_softprompt.sampling import Choices, Constraint, ConstraintState, Grammar


def lark_of(constraint: Constraint) -> str:
    """A constraint in llguidance's form of Lark, which vLLM takes as ``structured_outputs``.

    Raises:
        InvalidGrammarError: It is of a kind that can't be sent.
    """
    if isinstance(constraint, Grammar):
        return constraint.source.as_lark()
    if isinstance(constraint, Choices):
        answers = (" ".join(f"<[{token}]>" for token in answer) for answer in constraint.answers)
        return "%llguidance {}\nstart: " + "\n | ".join(answers)
    msg = (
        f"A constraint of type {type(constraint).__name__} can't be sent to a vLLM server: its rules are code of this process. "
        "Use sampling.Grammar or sampling.Choices."
    )
    raise InvalidGrammarError(msg)


class Follower:
    """Goes along with an answer, token by token: a server that holds answers to nothing is found out.

    Args:
        constraint: What the answer is held to; ``None`` for anything.
        stop_ids: Tokens that end it.
        vocab_size: How many tokens there are.

    Attributes:
        complete: Whether nothing but the answer's end may follow.
    """

    def __init__(self, constraint: Constraint | None, stop_ids: tuple[int, ...], vocab_size: int) -> None:
        self._constraint = constraint
        self._stop_ids = frozenset(stop_ids)
        self._vocab_size = vocab_size
        self._state = self._start()
        self.complete = False

    def take(self, token: int) -> None:
        """Go on with a token.

        Raises:
            ServerMismatchError: It may not stand here.
        """
        if self._state is None:
            return
        # A grammar finds out by itself, and a mask of it is dear.
        mask = None if isinstance(self._constraint, Grammar) else self._state.mask(self._vocab_size)
        try:
            if self.complete or (mask is not None and not bool(mask[token])):
                msg = f"token {token}"
                raise RequestFailedError(msg)
            self.complete = self._state.accept(token)
        except RequestFailedError:
            self._state = self._start()  # Another server may answer.
            msg = (
                f"It does not hold answers to grammars as it was asked to: token {token} does not fit. "
                "Start it with --structured-outputs-config.backend guidance."
            )
            raise ServerMismatchError(msg) from None

    def _start(self) -> ConstraintState | None:
        return self._constraint.start(self._stop_ids) if self._constraint is not None else None


__all__ = ["Follower", "lark_of"]
