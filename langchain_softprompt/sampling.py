"""Logits to token, one row at a time, each row with its own settings and its own random stream."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.settings import GenerationSettings


class Sampler:
    """Picks the tokens of one request.

    The random stream belongs to the request and lives on the CPU, so a seed gives the same tokens whatever else is in
    the batch, on every device.

    Args:
        settings: How to pick.
        token_ids: The prompt, which the repetition penalty counts as already seen.
    """

    def __init__(self, settings: GenerationSettings, token_ids: Iterable[int]) -> None:
        self._settings = settings
        self._seen_ids = set(token_ids) if settings.repetition_penalty != 1 else set()
        self._seen: Tensor | None = None
        self._generator: torch.Generator | None = None
        if settings.temperature > 0:
            self._generator = torch.Generator()
            if settings.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(settings.seed)

    @property
    def takes_likeliest(self) -> bool:
        """Whether it always picks the token with the largest logit, so that others can do it for it."""
        return self._generator is None and self._settings.repetition_penalty == 1

    def pick(self, logits: Tensor) -> int:
        """Pick the next token and remember it as seen.

        Args:
            logits: Shape ``[vocab_size]``.

        Raises:
            RequestFailedError: The logits hold NaN or infinity.
        """
        # The largest value is NaN if any is NaN; single tokens at minus infinity are a model's own choice.
        logits = logits.float()
        if not torch.isfinite(logits.max()):
            raise _not_finite()
        token = self._likeliest(logits) if self._generator is None else self._draw(logits.cpu())
        if self._seen is not None:
            self._seen[token] = True
        return token

    def _likeliest(self, logits: Tensor) -> int:
        return int(penalise(logits, self._seen_mask(logits), self._settings.repetition_penalty).argmax())

    def _draw(self, logits: Tensor) -> int:
        scores = filter_logits(logits, self._settings, self._seen_mask(logits))
        if not torch.isfinite(scores.max()):  # A temperature so near 0 that the division overflowed.
            return self._likeliest(logits)
        return int(torch.multinomial(scores.softmax(dim=-1), 1, generator=self._generator))

    def _seen_mask(self, logits: Tensor) -> Tensor | None:
        if self._settings.repetition_penalty == 1:
            return None
        if self._seen is None:
            self._seen = torch.zeros_like(logits, dtype=torch.bool)
            # An embedding may have more rows than the model has logits.
            known = [token for token in self._seen_ids if token < logits.shape[-1]]
            self._seen[known] = True
        return self._seen


def pick_all(samplers: Sequence[Sampler], logits: Tensor) -> list[int | Exception]:
    """Pick the next token of several rows; those that take the likeliest share one look at the logits.

    Args:
        samplers: One for each row.
        logits: Shape ``[rows, vocab_size]``.

    Returns:
        For each row its token, or why it got none.
    """
    try:
        largest, likeliest = _largest(logits)
        facts = list(zip(torch.isfinite(largest).tolist(), likeliest.tolist(), strict=True))
    except Exception:  # noqa: BLE001 - out of memory, say; row by row it may fit, and the error comes again if not.
        return [_pick_alone(sampler, logits[row]) for row, sampler in enumerate(samplers)]
    picked: list[int | Exception] = []
    for row, (sampler, (finite, token)) in enumerate(zip(samplers, facts, strict=True)):
        if not finite:
            picked.append(_not_finite())
        elif sampler.takes_likeliest:
            picked.append(token)
        else:
            picked.append(_pick_alone(sampler, logits[row]))
    return picked


def _largest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The largest logit of each row and the first place it stands at, NaN being the largest of all.

    To find a maximum is twenty times quicker than to find its place as well, so that is looked for among few.
    """
    rows, size = logits.shape
    length = _part_length(size)
    parts = logits.reshape(rows, size // length, length)
    largest, part = parts.amax(dim=-1).max(dim=-1)
    place = parts[torch.arange(rows, device=logits.device), part].max(dim=-1).indices
    return largest, part * length + place


@lru_cache(maxsize=16)
def _part_length(size: int) -> int:
    """The divisor next above the root."""
    return size // next(count for count in range(math.isqrt(size), 0, -1) if size % count == 0)


def _pick_alone(sampler: Sampler, logits: Tensor) -> int | Exception:
    try:
        return sampler.pick(logits)
    except Exception as error:  # noqa: BLE001 - this row's alone.
        return error


def _not_finite() -> RequestFailedError:
    return RequestFailedError(
        "The model's logits for this request hold NaN or infinity. Check the soft prompt and the model's dtype (try float32)."
    )


def filter_logits(logits: Tensor, settings: GenerationSettings, seen: Tensor | None = None) -> Tensor:
    """Apply repetition penalty, temperature, top-k, top-p and min-p, in transformers' order and arithmetic.

    Args:
        logits: Float32, shape ``[vocab_size]``.
        settings: With a temperature above 0.
        seen: Which tokens the penalty applies to, booleans of the same shape.

    Returns:
        Scores whose softmax is the distribution to draw from; what was filtered out is minus infinity.
    """
    scores = penalise(logits, seen, settings.repetition_penalty)
    if settings.temperature != 1:
        scores = scores / settings.temperature
    if settings.top_k:
        scores = keep_top_k(scores, settings.top_k)
    if settings.top_p < 1:
        scores = keep_top_p(scores, settings.top_p)
    if settings.min_p > 0:
        scores = keep_min_p(scores, settings.min_p)
    return scores


def penalise(logits: Tensor, seen: Tensor | None, penalty: float) -> Tensor:
    """Make the tokens in `seen` less likely (penalty above 1) or likelier (below 1)."""
    if seen is None or penalty == 1:
        return logits
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def keep_top_k(scores: Tensor, k: int) -> Tensor:
    """Keep the `k` best scores and what ties with the last of them."""
    least = scores.topk(min(k, scores.shape[-1])).values[-1]
    return scores.masked_fill(scores < least, -torch.inf)


def keep_top_p(scores: Tensor, share: float) -> Tensor:
    """Keep the smallest set of tokens whose probability reaches `share`, at least the best one."""
    ascending, order = scores.sort(descending=False)
    removed = ascending.softmax(dim=-1).cumsum(dim=-1) <= (1 - share)
    removed[-1] = False
    return scores.masked_fill(removed.scatter(0, order, removed), -torch.inf)


def keep_min_p(scores: Tensor, share: float) -> Tensor:
    """Keep the tokens whose probability is at least `share` of the best one's; the best one always stays."""
    likely = scores.softmax(dim=-1)
    return scores.masked_fill(likely < share * likely.max(), -torch.inf)


__all__ = ["Sampler", "filter_logits", "keep_min_p", "keep_top_k", "keep_top_p", "penalise", "pick_all"]
