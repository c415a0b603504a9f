"""Scoring: the caller's handle on a request to score given continuations, and its result."""

from __future__ import annotations

import math
from dataclasses import dataclass

from langchain_softprompt.engine.handle import Handle
from langchain_softprompt.errors import RequestCancelledError


@dataclass(frozen=True, slots=True)
class ScoringResult:
    """How likely the model finds each continuation of a prompt.

    Attributes:
        log_probs: For each continuation, in the given order, the natural logarithm of each token's probability after the
            prompt and the tokens before it: the model's own distribution, no temperature and no filter.
        prompt_tokens: Tokens of text before the continuations.
        virtual_tokens: Length of the soft prompt.
        cached_tokens: How many of the virtual tokens and of the text were not read, as their keys and values were
            there already.
    """

    log_probs: tuple[tuple[float, ...], ...]
    prompt_tokens: int
    virtual_tokens: int
    cached_tokens: int

    @property
    def totals(self) -> tuple[float, ...]:
        """For each continuation the log-probability of the whole of it."""
        return tuple(math.fsum(tokens) for tokens in self.log_probs)


class Scoring(Handle[ScoringResult]):
    """One request for scores under way. Any number of threads and event loops may wait for it."""

    _log_probs: tuple[tuple[float, ...], ...] = ()

    def complete(self, log_probs: tuple[tuple[float, ...], ...]) -> None:
        """Have the scores ready; nobody gets them before the request is ended. Ignored after that."""
        with self._lock:
            if not self.done:
                self._log_probs = log_probs

    def _result(self) -> ScoringResult:
        if self._finished() == "cancelled":
            msg = "The request was cancelled before all continuations were scored, by its caller or because its engine was closed."
            raise RequestCancelledError(msg)
        return ScoringResult(self._log_probs, self.prompt_tokens, self.virtual_tokens, self.cached_tokens)


__all__ = ["Scoring", "ScoringResult"]
