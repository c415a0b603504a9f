"""FakeScoring: scores of labels, from a script."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

from langchain_softprompt.engine import ScoringResult
from langchain_softprompt.errors import RequestCancelledError, RequestError

_SURE = 0.9


class FakeScoring:
    """The handle on scripted scores.

    Attributes:
        cancelled: Whether it was cancelled before anybody asked for the result.
    """

    def __init__(self, prompt_tokens: int, virtual_tokens: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._virtual_tokens = virtual_tokens
        self._log_probs: tuple[tuple[float, ...], ...] = ()
        self._error: Exception | None = None
        self.done = False
        self.cancelled = False

    def script(self, log_probs: tuple[tuple[float, ...], ...]) -> None:
        """Set the scores."""
        self._log_probs = log_probs

    def fail(self, error: Exception) -> None:
        """Fail in place of scores."""
        self._error, self.done = error, True

    def result(self, timeout: float | None = None) -> ScoringResult:
        """The scores."""
        if self._error is not None:
            raise self._error
        if self.cancelled:
            msg = "The request was cancelled."
            raise RequestCancelledError(msg)
        self.done = True
        return ScoringResult(self._log_probs, self._prompt_tokens, self._virtual_tokens, cached_tokens=0)

    async def wait(self) -> ScoringResult:
        """The same in an event loop."""
        await asyncio.sleep(0)
        return self.result()

    def cancel(self) -> None:
        """Give it up; nothing happens when somebody has the result."""
        self.cancelled = self.cancelled or not self.done


def scripted_scores(
    answer: str | Mapping[str, float], texts: Sequence[str], labels: Sequence[Sequence[int]]
) -> tuple[tuple[float, ...], ...]:
    """Log-probabilities that come to what a script says: all of a label's on its first token.

    Args:
        answer: The likeliest text; or probabilities by text, 0 for those that are not named.
        texts: The labels' texts.
        labels: Their tokens.

    Raises:
        RequestError: The answer names no label.
    """
    if isinstance(answer, str):
        left = (1 - _SURE) / max(1, len(texts) - 1)
        answer = {answer: _SURE, **{text: left for text in texts if text != answer}} if answer in texts else {answer: 1.0}
    unknown = next((text for text in answer if text not in texts), None)
    if unknown is not None:
        msg = f"The script's answer {unknown!r} is none of the labels: {', '.join(map(repr, texts))}."
        raise RequestError(msg)
    shares = [answer.get(text, 0.0) for text in texts]
    firsts = [math.log(share) if share > 0 else -math.inf for share in shares]
    return tuple((first, *[0.0] * (len(label) - 1)) for first, label in zip(firsts, labels, strict=True))


__all__ = ["FakeScoring", "scripted_scores"]
