"""Retained knowledge: the bare model is what it was, and how far a soft prompt moves it on text about other things."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import torch
from torch import Tensor

from langchain_softprompt.data import Example
from langchain_softprompt.errors import ChatTemplateError
from langchain_softprompt.evaluation.results import Knowledge
from langchain_softprompt.evaluation.words import judge_knowledge
from langchain_softprompt.frozen_model import FrozenModel, encode_text
from langchain_softprompt.likelihood import completion_logits, completion_targets
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt

_BATCH = 4


@cache
def neutral_texts() -> tuple[str, ...]:
    """Sentences about nothing in particular, written for this package."""
    text = resources.files("langchain_softprompt.evaluation").joinpath("neutral.txt").read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))


@dataclass(frozen=True, slots=True)
class BareModel:
    """What the bare model says, to be compared with what it says later.

    Attributes:
        examples: The neutral texts: after its first token, each is predicted token by token.
        digests: SHA-256 of the logits' bytes, batch by batch: the same only where every bit is.
    """

    examples: tuple[Example, ...]
    digests: tuple[str, ...]

    @classmethod
    def look(cls, model: FrozenModel, texts: Sequence[str] | None = None) -> BareModel:
        """Read neutral texts with the bare model.

        Args:
            model: The frozen model; no engine may be using it meanwhile.
            texts: The texts; by default this package's own.
        """
        if model.tokenizer is None:
            msg = f"{model.name} was wrapped without a tokenizer, and neutral text is read as text."
            raise ChatTemplateError(msg)
        begin = () if model.tokenizer.bos_token_id is None else (int(model.tokenizer.bos_token_id),)
        examples = []
        for text in neutral_texts() if texts is None else texts:
            ids = (*begin, *encode_text(model.tokenizer, text))
            examples.append(Example(ids[:1], ids[1:]))
        return cls(tuple(examples), _digests(model, examples))

    def unchanged(self, model: FrozenModel) -> bool:
        """Whether the bare model says the same now, bit for bit."""
        return _digests(model, self.examples) == self.digests

    @torch.no_grad()
    def beside(self, model: FrozenModel, name: str, soft_prompt: SoftPrompt, *, allow_other_model: bool = False) -> Knowledge:
        """Compare the bare model, now and then, and the model with a soft prompt that has been used in between.

        Args:
            model: The frozen model; no engine may be using it meanwhile.
            name: The soft prompt's arm.
            soft_prompt: The soft prompt.
            allow_other_model: Take one that was made for another model.
        """
        prefix = compile_prefix(model, soft_prompt, allow_other_model=allow_other_model)
        divergence = loss_off = loss_on = 0.0
        tokens, digests = 0, []
        for batch in _batches(self.examples):
            logits = completion_logits(model, None, batch)
            digests.append(_digest(logits))
            off, on = _log_probs(logits), _log_probs(completion_logits(model, prefix, batch))
            wanted = completion_targets(model, batch)[:, None]
            divergence += float((off.exp() * (off - on)).nan_to_num().sum())
            loss_off -= float(off.gather(1, wanted).sum())
            loss_on -= float(on.gather(1, wanted).sum())
            tokens += len(wanted)
        unchanged = tuple(digests) == self.digests
        facts = {
            "divergence": max(0.0, divergence / tokens),
            "perplexity_off": math.exp(loss_off / tokens),
            "perplexity_on": math.exp(min(700.0, loss_on / tokens)),
        }
        level, verdict = judge_knowledge(unchanged=unchanged, **facts)
        return Knowledge(name, unchanged, tokens=tokens, level=level, verdict=verdict, **facts)


@torch.no_grad()
def _digests(model: FrozenModel, examples: Sequence[Example]) -> tuple[str, ...]:
    return tuple(_digest(completion_logits(model, None, batch)) for batch in _batches(examples))


def _digest(logits: Tensor) -> str:
    return hashlib.sha256(logits.contiguous().cpu().view(torch.uint8).numpy().tobytes()).hexdigest()


def _log_probs(logits: Tensor) -> Tensor:
    return logits.double().log_softmax(dim=-1)


def _batches(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    for start in range(0, len(examples), _BATCH):
        yield examples[start : start + _BATCH]


__all__ = ["BareModel", "neutral_texts"]
