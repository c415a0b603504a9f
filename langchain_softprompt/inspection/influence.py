"""Influence: how differently the model speaks with the soft prompt on and off."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_softprompt.data import Example
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.inspection.answers import spell
from langchain_softprompt.inspection.samples import Samples, answered
from langchain_softprompt.likelihood import completion_logits
from langchain_softprompt.prefix import KVPrefix

_BATCH = 4
_LIKELIEST = 3
_HARDLY, _SOMEWHAT = 0.1, 1.0  # nats


@dataclass(frozen=True, slots=True)
class Likely:
    """A token the model may say next.

    Attributes:
        token: The token as text.
        probability: Its probability.
    """

    token: str
    probability: float


@dataclass(frozen=True, slots=True)
class InputInfluence:
    """One input, with the soft prompt on and off.

    Attributes:
        text: The input's words.
        answer: What the model answers with the soft prompt, greedy decoding.
        bare_answer: What it answers without.
        first: KL divergence of the answer's first token, on from off, in nats.
        along: The same, mean over the tokens of the answer that is given with the soft prompt, its end included.
        from_hard_prompt: The mean along the answer, on from the hard prompt in its place; ``None`` where there is none.
        on: The likeliest first tokens with the soft prompt.
        off: The likeliest ones without.
    """

    text: str
    answer: str
    bare_answer: str
    first: float
    along: float
    from_hard_prompt: float | None
    on: tuple[Likely, ...]
    off: tuple[Likely, ...]

    @property
    def same_answer(self) -> bool:
        """Whether the answers are the same with it and without."""
        return self.answer == self.bare_answer


@dataclass(frozen=True, slots=True)
class Influence:
    """How differently the model speaks with the soft prompt on and off.

    Attributes:
        inputs: Input by input.
    """

    inputs: tuple[InputInfluence, ...]

    @property
    def first(self) -> float:
        """Mean divergence of the answers' first tokens, in nats."""
        return statistics.fmean(one.first for one in self.inputs)

    @property
    def along(self) -> float:
        """Mean divergence along the answers, in nats a token."""
        return statistics.fmean(one.along for one in self.inputs)

    @property
    def from_hard_prompt(self) -> float | None:
        """Mean divergence from the hard prompt along the answers, in nats a token."""
        known = [one.from_hard_prompt for one in self.inputs if one.from_hard_prompt is not None]
        return statistics.fmean(known) if known else None

    @property
    def same_answers(self) -> float:
        """Share of inputs that get the same answer with it and without."""
        return statistics.fmean(one.same_answer for one in self.inputs)

    @property
    def reading(self) -> str:
        """The same in plain words."""
        word = "hardly" if self.along < _HARDLY else "somewhat" if self.along < _SOMEWHAT else "strongly"
        told = (
            f"It changes what the model says {word}: {self.first:.2f} nats at the first token, {self.along:.2f} a token along the answer; "
            f"{1 - self.same_answers:.0%} of the answers are others than without it."
        )
        if self.from_hard_prompt is not None:
            told += f" From what the hard prompt would say in its place it is {self.from_hard_prompt:.2f} nats a token away."
        return told


@torch.no_grad()
def measure_influence(
    model: FrozenModel,
    prefix: KVPrefix,
    samples: Samples,
    answers: Sequence[Sequence[int]],
    bare_answers: Sequence[Sequence[int]],
    *,
    hard_prompt: KVPrefix | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Influence:
    """Read each input and the soft prompt's own answer to it with the soft prompt, without it, and after the hard prompt.

    Divergences are KL(with || without): how much one who expects the bare model is surprised.

    Args:
        model: The frozen model.
        prefix: The compiled soft prompt.
        samples: The inputs.
        answers: The answers given with the soft prompt.
        bare_answers: Those given without.
        hard_prompt: The hard prompt's instructions, compiled; ``None`` where there are none.
        on_progress: Called with the number of inputs done and of all.
    """
    inputs: list[InputInfluence] = []
    for start in range(0, len(answers), _BATCH):
        numbers = range(start, min(start + _BATCH, len(answers)))
        batch = [answered(samples.samples[number], answers[number]) for number in numbers]
        on, off = log_probs(model, prefix, batch), log_probs(model, None, batch)
        hard = log_probs(model, hard_prompt, batch) if hard_prompt is not None else [None] * len(batch)
        for number, mine, bare, instructed in zip(numbers, on, off, hard, strict=True):
            apart = divergences(mine, bare)
            inputs.append(
                InputInfluence(
                    text=samples.samples[number].shown,
                    answer=spell(model, answers[number]),
                    bare_answer=spell(model, bare_answers[number]),
                    first=float(apart[0]),
                    along=float(apart.mean()),
                    from_hard_prompt=float(divergences(mine, instructed).mean()) if instructed is not None else None,
                    on=_likeliest(model, mine[0]),
                    off=_likeliest(model, bare[0]),
                )
            )
        if on_progress is not None:
            on_progress(len(inputs), len(answers))
    return Influence(tuple(inputs))


def log_probs(model: FrozenModel, prefix: KVPrefix | None, batch: Sequence[Example]) -> list[Tensor]:
    """Log-probabilities at every completion token, one ``[tokens, vocab_size]`` an example, float64, on the CPU."""
    spread = completion_logits(model, prefix, batch).cpu().double().log_softmax(dim=-1)  # Not every device has float64.
    return list(spread.split([len(example.completion) for example in batch]))


def divergences(here: Tensor, there: Tensor) -> Tensor:
    """KL(here || there) of each row of log-probabilities, in nats; a probability of zero takes no part."""
    return torch.where(here > -torch.inf, here.exp() * (here - there), 0.0).sum(dim=-1).clamp_min(0.0)


def _likeliest(model: FrozenModel, spread: Tensor) -> tuple[Likely, ...]:
    top = spread.exp().topk(_LIKELIEST)
    named = [model.tokenizer.decode([token]) if model.tokenizer is not None else str(token) for token in top.indices.tolist()]
    return tuple(Likely(str(name), probability) for name, probability in zip(named, top.values.tolist(), strict=True))


__all__ = ["Influence", "InputInfluence", "Likely", "divergences", "log_probs", "measure_influence"]
