"""Probes: short texts read again, to see whether a soft prompt still makes the model say what it said when it was recorded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from langchain_softprompt.errors import InvalidSoftPromptError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.columns import ColumnCache
from langchain_softprompt.frozen_model.passes import RowPart
from langchain_softprompt.hub.local import MANIFEST_FILE
from langchain_softprompt.plain import plain
from langchain_softprompt.prefix.kv_prefix import KVPrefix
from langchain_softprompt.soft_prompt import ProbeRecord, ProbesRecord

Verdict = Literal["same", "drifted", "broken", "unknown"]

# Root mean square difference of log-probabilities, in nats, up to which an answer is the same; about three times the
# largest that was measured between float32 and each of these on SmolLM2-135M with three soft prompts (docs/ageing.md).
ALLOWED = {"float32": 0.005, "float16": 0.05, "bfloat16": 0.3, "int8": 1.2}
# Mean divergence in nats from which a soft prompt is broken: int8 comes to a tenth of it at most, a soft prompt without its
# first row to more. Where all it ever did is less than twice that, from half of what it did.
BROKEN = 1.0
_BROKEN_SHARE = 0.5
# Probes are read in one pass as long as their caches stay small.
_COLUMNS_A_PASS = 2048
_LEAST_SHARE = 1e-9


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """One probe, then and now.

    Attributes:
        number: Its number in the record, from 1.
        deviation: Root mean square difference of the recorded tokens' log-probabilities, in nats.
        largest: Largest of these differences.
        divergence: Kullback-Leibler divergence from then to now over the recorded tokens and the rest as one more, in nats;
            that over all tokens is no smaller.
        effect: Divergence from then to the bare model when it was recorded: what the soft prompt did; NaN where that was not.
        expected: The likeliest token then.
        found: The likeliest token now; ``None`` where the logits are not finite.
    """

    number: int
    deviation: float
    largest: float
    divergence: float
    effect: float
    expected: int
    found: int | None

    @property
    def same_token(self) -> bool:
        """Whether the likeliest token is the same."""
        return self.expected == self.found


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """All probes that were read, then and now.

    Attributes:
        probes: What came of each.
        skipped: How many of the record were not read, because they would have taken too long.
        allowed: Deviation up to which an answer counts as the same, by the coarser of the two precisions.
        precision: The two, for instance ``"float32 then, int8 now"``.
    """

    probes: tuple[ProbeOutcome, ...]
    skipped: int
    allowed: float
    precision: str

    @property
    def deviation(self) -> float:
        """Root mean square difference of all recorded log-probabilities, in nats."""
        if not self.probes:
            return math.nan
        return math.sqrt(math.fsum(probe.deviation**2 for probe in self.probes) / len(self.probes))

    @property
    def largest(self) -> float:
        """Largest difference of a recorded log-probability, in nats."""
        return max((probe.largest for probe in self.probes), default=math.nan)

    @property
    def divergence(self) -> float:
        """Mean divergence, in nats."""
        return math.fsum(probe.divergence for probe in self.probes) / len(self.probes) if self.probes else math.nan

    @property
    def effect(self) -> float:
        """Mean divergence of the bare model, in nats: what the soft prompt did; NaN where that was not recorded."""
        return math.fsum(probe.effect for probe in self.probes) / len(self.probes) if self.probes else math.nan

    @property
    def changed_tokens(self) -> int:
        """On how many probes another token is the likeliest."""
        return sum(not probe.same_token for probe in self.probes)

    @property
    def verdict(self) -> Verdict:
        """``"same"``, ``"drifted"``, ``"broken"``; ``"unknown"`` where no probe was read."""
        if not self.probes:
            return "unknown"
        if not self.divergence < BROKEN:  # NaN is broken, too
            return "broken"
        if self.deviation <= self.allowed:
            return "same"
        return "broken" if self.divergence >= _BROKEN_SHARE * self.effect else "drifted"

    def __str__(self) -> str:
        if not self.probes:
            return f"no probe was read ({self.skipped} too long)" if self.skipped else "there are no probes"
        if not math.isfinite(self.divergence):
            return "NaN or Inf once text follows it"
        tokens = f"the likeliest token changed on {self.changed_tokens} of {len(self.probes)} probes"
        whole = f" of the {self.effect:.2g} it makes" if math.isfinite(self.effect) else ""
        return (
            f"log-probabilities are off by {self.deviation:.2g} nats (allowed {self.allowed:g}: {self.precision}), "
            f"{self.largest:.2g} at most; divergence {self.divergence:.2g} nats{whole}; {tokens}"
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values; numbers that are not finite become ``None``."""
        facts = {
            "verdict": self.verdict,
            "deviation": self.deviation,
            "largest": self.largest,
            "divergence": self.divergence,
            "effect": self.effect,
            "changed_tokens": self.changed_tokens,
            "skipped": self.skipped,
            "allowed": self.allowed,
            "precision": self.precision,
        }
        told: dict[str, Any] = plain(
            {**facts, "probes": [{**dataclasses.asdict(one), "same_token": one.same_token} for one in self.probes]}
        )
        return told


@torch.inference_mode()
def run_probes(model: FrozenModel, prefix: KVPrefix, record: ProbesRecord, *, most_tokens: int | None = None) -> ProbeReport:
    """Read recorded probes again, with the passes that serve, and compare.

    Args:
        model: The frozen model.
        prefix: The compiled soft prompt.
        record: The probes.
        most_tokens: Read only so many positions: the first probes that fit. Soft rows that the model can't keep and has
            to read again count each time.

    Returns:
        What came of it, probe by probe.

    Raises:
        InvalidSoftPromptError: The record names tokens that the model does not have, or is longer than its context.
    """
    check_record(model, prefix, record)
    chosen, left = [], math.inf if most_tokens is None else most_tokens
    again = 0 if prefix.embeddings is None else prefix.length
    for number, probe in enumerate(record.probes, start=1):
        left -= len(probe.token_ids) + again
        if left < 0:
            break
        chosen.append((number, probe))
    logits = read_texts(model, prefix, [probe.token_ids for _, probe in chosen])
    outcomes = tuple(_compare(number, probe, one) for (number, probe), one in zip(chosen, logits, strict=True))
    then = record.quantization or record.dtype
    now = model.quantization or str(model.dtype).removeprefix("torch.")
    allowed = max(_allowed(then), _allowed(now))
    return ProbeReport(outcomes, len(record.probes) - len(chosen), allowed, f"{_known(then)} then, {now} now")


def read_texts(model: FrozenModel, prefix: KVPrefix, texts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Logits after each of some texts that follow a compiled prefix, float32, ``[vocab_size]``; one pass where it can be."""
    together = model.passes.reads_together and sum(prefix.length + len(text) for text in texts) <= _COLUMNS_A_PASS
    found: list[Tensor | None] = []
    if together and texts:
        found = model.passes.read([_part(model, prefix, text) for text in texts])
    else:
        for text in texts:  # One cache at a time.
            found += model.passes.read([_part(model, prefix, text)])
    return [logits.float() for logits in found if logits is not None]


def check_record(model: FrozenModel, prefix: KVPrefix, record: ProbesRecord) -> None:
    """Refuse a record that can't be read on a model.

    Raises:
        InvalidSoftPromptError: It names tokens that the model does not have, or is longer than its context.
    """
    for place, probe in enumerate(record.probes):
        for field, ids in (("token_ids", probe.token_ids), ("next_ids", probe.next_ids)):
            if max(ids) >= model.vocab_size:
                raise _unreadable(place, field, f"token ids from 0 to {model.vocab_size - 1}, which {model.name} has", str(max(ids)))
        room = None if model.max_positions is None else model.max_positions - prefix.length
        if room is not None and len(probe.token_ids) > room:
            raise _unreadable(place, "token_ids", f"at most {room}, the room {model.name} leaves", str(len(probe.token_ids)))


def _unreadable(place: int, field: str, expected: str, found: str) -> InvalidSoftPromptError:
    hint = "The probes were recorded on another model; record them again: langchain-softprompt check --record."
    return InvalidSoftPromptError(file=MANIFEST_FILE, field=f"probes.{place}.{field}", expected=expected, found=found, hint=hint)


def _part(model: FrozenModel, prefix: KVPrefix, text: Sequence[int]) -> RowPart:
    ids = torch.tensor([list(text)], dtype=torch.long, device=model.device)
    if prefix.embeddings is not None:
        return RowPart(model.new_cache(), 0, inputs_embeds=torch.cat([prefix.embeddings, model.embed(ids[0])])[None])
    if not model.reuses_prefix:
        return RowPart(prefix.to_cache(model), prefix.length, input_ids=ids)
    cache = ColumnCache(1, prefix.length + len(text))
    for index, (keys, values) in prefix.by_layer().items():
        cache.write(index, 0, 0, keys, values)
    cache.window.end = prefix.length
    return RowPart(cache, prefix.length, input_ids=ids)


def _compare(number: int, probe: ProbeRecord, logits: Tensor) -> ProbeOutcome:
    effect = math.nan if probe.effect is None else probe.effect
    if not bool(torch.isfinite(logits.max())):
        return ProbeOutcome(number, math.inf, math.inf, math.inf, effect, probe.next_ids[0], None)
    then, now = torch.tensor(probe.log_probs, dtype=torch.float64), log_probs_of(logits, probe.next_ids)
    difference = then - now
    return ProbeOutcome(
        number,
        float(difference.square().mean().sqrt()),
        float(difference.abs().max()),
        divergence(then, now),
        effect,
        probe.next_ids[0],
        int(logits.argmax()),
    )


def log_probs_of(logits: Tensor, token_ids: Sequence[int]) -> Tensor:
    """Log-probabilities of some tokens, float64 on the CPU."""
    return logits.cpu().double().log_softmax(dim=-1)[torch.tensor(list(token_ids))]


def divergence(then: Tensor, now: Tensor) -> float:
    """Kullback-Leibler divergence between two distributions of which some log-probabilities are known, the rest taken as one.

    What is taken together can only come closer, so it is at most the divergence over all tokens (data-processing inequality).
    """
    rest_then, rest_now = (max(1.0 - float(log_probs.exp().sum()), _LEAST_SHARE) for log_probs in (then, now))
    # A probability of zero takes no part, however far off its logarithm is.
    known = float(torch.where(then.exp() > 0, then.exp() * (then - now), 0.0).sum())
    return max(0.0, known + rest_then * math.log(rest_then / rest_now))


def _allowed(precision: str) -> float:
    return ALLOWED.get(precision, max(ALLOWED.values()))


def _known(precision: str) -> str:
    """What a stranger's file calls its precision, as far as it is a name we know."""
    return precision if precision in ALLOWED else "an unknown precision"


__all__ = [
    "ALLOWED",
    "BROKEN",
    "ProbeOutcome",
    "ProbeReport",
    "Verdict",
    "check_record",
    "divergence",
    "log_probs_of",
    "read_texts",
    "run_probes",
]
