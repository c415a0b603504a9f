"""ProbeReport: what recorded probes said then and say now, wherever they were read again."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from langchain_softprompt.plain import plain
from langchain_softprompt.soft_prompt import ProbeRecord, ProbesRecord

Verdict = Literal["same", "drifted", "broken", "unknown"]

# Root mean square difference of log-probabilities, in nats, up to which an answer is the same; about three times the
# largest that was measured between float32 and each of these on SmolLM2-135M with three soft prompts (docs/ageing.md).
ALLOWED = {"float32": 0.005, "float16": 0.05, "bfloat16": 0.3, "int8": 1.2}
# Mean divergence in nats from which a soft prompt is broken: int8 comes to a tenth of it at most, a soft prompt without its
# first row to more. Where all it ever did is less than twice that, from half of what it did.
BROKEN = 1.0
_BROKEN_SHARE = 0.5
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


def compare_probe(number: int, probe: ProbeRecord, now: Tensor | None, likeliest: int | None) -> ProbeOutcome:
    """One probe as it was recorded, and what the model says to it now.

    Args:
        number: Its number in the record, from 1.
        probe: The record.
        now: Log-probabilities of the recorded tokens, float64; ``None`` where they are not finite.
        likeliest: The likeliest token; ``None`` likewise.
    """
    effect = math.nan if probe.effect is None else probe.effect
    if now is None:
        return ProbeOutcome(number, math.inf, math.inf, math.inf, effect, probe.next_ids[0], None)
    then = torch.tensor(probe.log_probs, dtype=torch.float64)
    difference = then - now
    return ProbeOutcome(
        number,
        float(difference.square().mean().sqrt()),
        float(difference.abs().max()),
        divergence(then, now),
        effect,
        probe.next_ids[0],
        likeliest,
    )


def report_of(record: ProbesRecord, outcomes: tuple[ProbeOutcome, ...], now: str) -> ProbeReport:
    """All that were read, judged by the coarser of the two precisions.

    Args:
        record: The probes.
        outcomes: What came of those that were read.
        now: The precision that they were read in; a name that is not known counts as the coarsest.
    """
    then = record.quantization or record.dtype
    allowed = max(_allowed(then), _allowed(now))
    return ProbeReport(outcomes, len(record.probes) - len(outcomes), allowed, f"{_known(then)} then, {_known(now)} now")


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


__all__ = ["ALLOWED", "BROKEN", "ProbeOutcome", "ProbeReport", "Verdict", "compare_probe", "divergence", "report_of"]
