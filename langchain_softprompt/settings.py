"""Frozen, checked values: how to generate, how much the engine may hold, how to train."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from langchain_softprompt.errors import InvalidSettingsError


def _require(holds: bool, name: str, expected: str, found: object) -> None:  # noqa: FBT001
    if not holds:
        msg = f"{name}: expected {expected}, found {found!r}."
        raise InvalidSettingsError(msg)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


class _Settings:
    """What every settings class can do."""

    __slots__ = ()

    def override(self, **changes: Any) -> Self:
        """Return a copy with some values changed; unknown names raise `InvalidSettingsError`."""
        known = {field.name for field in fields(self)}  # type: ignore[arg-type]
        unknown = sorted(set(changes) - known)
        if unknown:
            msg = f"Unknown setting {unknown[0]!r} for {type(self).__name__}. Known: {', '.join(sorted(known))}."
            raise InvalidSettingsError(msg)
        return replace(self, **changes)  # type: ignore[type-var]


@dataclass(frozen=True, slots=True)
class GenerationSettings(_Settings):
    """How one request is generated.

    Attributes:
        max_new_tokens: Most tokens to generate, at least 1.
        temperature: 0 is greedy; above 0 samples from the distribution at that temperature.
        top_k: Keep the k likeliest tokens; ``None`` or 0 keeps all.
        top_p: Keep the smallest set of tokens whose probability reaches this share, in (0, 1].
        min_p: Keep the tokens at least this share as likely as the likeliest, in [0, 1]; 0 is off (Nguyen et al. 2024,
            arXiv:2407.01082).
        repetition_penalty: Divides (or multiplies) the logits of tokens already seen, 1 is off
            (Keskar et al. 2019, arXiv:1909.05858).
        seed: Seed of this request's own random stream; ``None`` draws a fresh one.
        stop_token_ids: Tokens that end the answer, beside the model's own end-of-sequence tokens.
        top_logprobs: Keep the log-probability of each token of the answer, under the model's own distribution, and those of
            so many of the likeliest tokens at its place; ``None`` keeps none.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    top_logprobs: int | None = None

    def __post_init__(self) -> None:
        _require(
            _is_int(self.max_new_tokens) and self.max_new_tokens >= 1, "max_new_tokens", "an integer of at least 1", self.max_new_tokens
        )
        _require(_is_number(self.temperature) and self.temperature >= 0, "temperature", "a number of at least 0", self.temperature)
        _require(self.top_k is None or (_is_int(self.top_k) and self.top_k >= 0), "top_k", "an integer of at least 0, or None", self.top_k)
        _require(_is_number(self.top_p) and 0 < self.top_p <= 1, "top_p", "a number above 0 and at most 1", self.top_p)
        _require(_is_number(self.min_p) and 0 <= self.min_p <= 1, "min_p", "a number from 0 to 1", self.min_p)
        _require(
            _is_number(self.repetition_penalty) and self.repetition_penalty > 0,
            "repetition_penalty",
            "a number above 0",
            self.repetition_penalty,
        )
        _require(
            self.seed is None or (_is_int(self.seed) and 0 <= self.seed < 2**63),
            "seed",
            "an integer from 0 to 2**63 - 1, or None",
            self.seed,
        )
        _require(
            isinstance(self.stop_token_ids, tuple) and all(_is_int(i) and i >= 0 for i in self.stop_token_ids),
            "stop_token_ids",
            "a tuple of token ids of at least 0",
            self.stop_token_ids,
        )
        _require(
            self.top_logprobs is None or (_is_int(self.top_logprobs) and self.top_logprobs >= 0),
            "top_logprobs",
            "an integer of at least 0, or None",
            self.top_logprobs,
        )


@dataclass(frozen=True, slots=True)
class EngineLimits(_Settings):
    """How much one engine may hold at a time.

    A running request counts with all it may come to: soft prompt, text and ``max_new_tokens``. What does not fit waits.

    Attributes:
        max_rows: Most requests that run together.
        max_queue: Most requests that wait; one more is refused with `EngineBusyError`.
        max_tokens: Most positions that running requests may come to together; ``None`` leaves it to the bytes.
        row_cache_bytes: Most memory for the keys and values of running requests.
        prefix_cache_bytes: Most memory for what was read before and may be read again: compiled soft prompts and the
            text after them, least recently used first out.
        prefill_chunk: Most positions of prompts read between two steps of the rows that are being answered. Smaller
            keeps streams smoother, larger reads long prompts faster.
    """

    max_rows: int = 16
    max_queue: int = 10_000
    max_tokens: int | None = None
    row_cache_bytes: int = 1 << 30
    prefix_cache_bytes: int = 1 << 29
    prefill_chunk: int = 256

    def __post_init__(self) -> None:
        for name in ("max_rows", "max_queue", "row_cache_bytes", "prefill_chunk"):
            value = getattr(self, name)
            _require(_is_int(value) and value >= 1, name, "an integer of at least 1", value)
        _require(
            self.max_tokens is None or (_is_int(self.max_tokens) and self.max_tokens >= 1),
            "max_tokens",
            "an integer of at least 1, or None",
            self.max_tokens,
        )
        _require(
            _is_int(self.prefix_cache_bytes) and self.prefix_cache_bytes >= 0,
            "prefix_cache_bytes",
            "bytes, at least 0",
            self.prefix_cache_bytes,
        )


METHODS = ("kv-prefix", "prompt-tuning")
STARTS = ("hard-prompt", "vocabulary")
SELECTIONS = ("exact-match", "loss")


@dataclass(frozen=True, slots=True)
class TrainingSettings(_Settings):
    """How a soft prompt is trained.

    Attributes:
        method: ``"kv-prefix"`` learns keys and values of every layer, ``"prompt-tuning"`` rows of embeddings.
        start: What it starts as: ``"hard-prompt"``, the hard prompt's own tokens, or ``"vocabulary"``, tokens drawn from
            the vocabulary. Another soft prompt, given to `train`, comes before both.
        residual: For prompt tuning: learn the rows through a small network with a bypass, which is computed once and
            dropped when the soft prompt is saved (Razdaibiedina et al. 2023, arXiv:2305.03937).
        virtual_tokens: Length of the soft prompt; ``None`` takes that of what it starts as, or 32 vocabulary tokens.
        max_steps: Optimiser steps; ``None`` for five passes over the data, but 50 at least and 1000 at most.
        batch_size: Examples a step.
        learning_rate: Peak learning rate of AdamW, reached after the warm-up, then cosine to 0; ``None`` tries some on
            a few steps each.
        warmup_share: Share of the steps spent warming up.
        clip_norm: Largest gradient norm.
        evaluate_every: Steps between two looks at the validation rows; ``None`` for ten looks a run.
        select_by: What makes a step the best: ``"exact-match"``, the share of validation rows whose answer greedy decoding
            would write exactly, the loss where that is equal; or ``"loss"``.
        patience: Looks without a better step after which a run ends early; ``None`` never.
        validation_rows: Most validation rows looked at each time.
        max_tokens: Longest example in tokens (text and completion); a longer one is an error.
        save_every: Steps between two saved states of a run that has a folder.
        seed: Seed of the data's order and of everything drawn.
    """

    method: str = "kv-prefix"
    start: str = "hard-prompt"
    residual: bool = False
    virtual_tokens: int | None = None
    max_steps: int | None = None
    batch_size: int = 16
    learning_rate: float | None = None
    warmup_share: float = 0.05
    clip_norm: float = 1.0
    evaluate_every: int | None = None
    select_by: str = "exact-match"
    patience: int | None = 5
    validation_rows: int = 256
    max_tokens: int = 512
    save_every: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("method", METHODS), ("start", STARTS), ("select_by", SELECTIONS)):
            _require(getattr(self, name) in known, name, f"one of {', '.join(known)}", getattr(self, name))
        _require(isinstance(self.residual, bool), "residual", "true or false", self.residual)
        _require(not self.residual or self.method == "prompt-tuning", "residual", "false for any method but prompt-tuning", self.residual)
        _require(
            self.virtual_tokens is None or (_is_int(self.virtual_tokens) and 1 <= self.virtual_tokens <= 4096),
            "virtual_tokens",
            "an integer from 1 to 4096, or None",
            self.virtual_tokens,
        )
        for name in ("batch_size", "validation_rows", "max_tokens", "save_every"):
            value = getattr(self, name)
            _require(_is_int(value) and value >= 1, name, "an integer of at least 1", value)
        for name in ("max_steps", "evaluate_every", "patience"):
            value = getattr(self, name)
            _require(value is None or (_is_int(value) and value >= 1), name, "an integer of at least 1, or None", value)
        rate = self.learning_rate
        _require(rate is None or (_is_number(rate) and rate > 0), "learning_rate", "a number above 0, or None", rate)
        _require(
            _is_number(self.warmup_share) and 0 <= self.warmup_share < 1, "warmup_share", "a share from 0 to below 1", self.warmup_share
        )
        _require(_is_number(self.clip_norm) and self.clip_norm > 0, "clip_norm", "a number above 0", self.clip_norm)
        _require(_is_int(self.seed) and 0 <= self.seed < 2**63, "seed", "an integer from 0 to 2**63 - 1", self.seed)

    def steps_for(self, rows: int) -> int:
        """Optimiser steps for so many training rows."""
        if self.max_steps is not None:
            return self.max_steps
        return min(max(_PASSES * rows // self.batch_size, _FEWEST_STEPS), _MOST_STEPS)

    def looks_every(self, steps: int) -> int:
        """Steps between two looks at the validation rows, in a run of so many steps."""
        return self.evaluate_every or max(1, steps // _LOOKS)


_PASSES, _FEWEST_STEPS, _MOST_STEPS, _LOOKS = 5, 50, 1000, 10


QUANTIZATIONS = ("int8",)


def check_quantization(quantization: str | None) -> None:
    """Refuse a quantization there is not.

    Raises:
        InvalidSettingsError: It is not ``None`` and none of `QUANTIZATIONS`.
    """
    if quantization is not None and quantization not in QUANTIZATIONS:
        msg = f"quantization: expected None or one of {', '.join(QUANTIZATIONS)}, found {quantization!r}."
        raise InvalidSettingsError(msg)
