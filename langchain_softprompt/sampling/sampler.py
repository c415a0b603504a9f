"""Sampler: logits to token, one row at a time, each row with its own settings and its own random stream."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.sampling.constraint import ConstraintState
from langchain_softprompt.sampling.filtering import filter_logits, keep_allowed, penalise
from langchain_softprompt.settings import GenerationSettings


class Sampler:
    """Picks the tokens of one request.

    The random stream belongs to the request and lives on the CPU, so a seed gives the same tokens whatever else is in
    the batch, on every device.

    Args:
        settings: How to pick.
        token_ids: The prompt, which the repetition penalty counts as already seen.
        constraint: What the answer may be, at its beginning; ``None`` where it may be anything.

    Attributes:
        complete: Whether the constraint lets nothing follow but the answer's end.
    """

    def __init__(self, settings: GenerationSettings, token_ids: Iterable[int], constraint: ConstraintState | None = None) -> None:
        self._settings = settings
        self._constraint = constraint
        self.complete = False
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
        return self._generator is None and self._settings.repetition_penalty == 1 and self._constraint is None

    def pick(self, logits: Tensor) -> int:
        """Pick the next token and remember it as seen.

        Args:
            logits: Shape ``[vocab_size]``.

        Raises:
            RequestFailedError: The logits hold NaN or infinity, or the constraint leaves no token.
        """
        # The largest value is NaN if any is NaN; single tokens at minus infinity are a model's own choice.
        logits = logits.float()
        if not torch.isfinite(logits.max()):
            raise _not_finite()
        if self._generator is not None:
            logits = logits.cpu()
        allowed = self._allowed(logits)
        token = self._likeliest(logits, allowed) if self._generator is None else self._draw(logits, allowed)
        if self._seen is not None:
            self._seen[token] = True
        if self._constraint is not None:
            self.complete = self._constraint.accept(token)
        return token

    def _likeliest(self, logits: Tensor, allowed: Tensor | None) -> int:
        return int(keep_allowed(penalise(logits, self._seen_mask(logits), self._settings.repetition_penalty), allowed).argmax())

    def _draw(self, logits: Tensor, allowed: Tensor | None) -> int:
        scores = filter_logits(logits, self._settings, self._seen_mask(logits), allowed)
        if not torch.isfinite(scores.max()):  # A temperature so near 0 that the division overflowed.
            return self._likeliest(logits, allowed)
        return int(torch.multinomial(scores.softmax(dim=-1), 1, generator=self._generator))

    def _allowed(self, logits: Tensor) -> Tensor | None:
        mask = self._constraint.mask(logits.shape[-1]) if self._constraint is not None else None
        if mask is None:
            return None
        mask = mask.to(logits.device)
        if not torch.isfinite(keep_allowed(logits, mask).max()):
            msg = "None of the tokens that the request's constraint allows here is one that the model can write. Check the constraint."
            raise RequestFailedError(msg)
        return mask

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


__all__ = ["Sampler", "pick_all"]
