"""Ablation: what is lost without one virtual token, without the keys, without the values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from langchain_softprompt.data import Example
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.likelihood import CompletionScore, completion_targets
from langchain_softprompt.likelihood.padded import padded_logits
from langchain_softprompt.prefix import EmbeddingRows, KVPrefix, compile_segments
from langchain_softprompt.soft_prompt import SoftPrompt

_MOST_GROUPS = 64
_MOST_ROWS, _BATCH_POSITIONS = 16, 2048
_ALIBI = frozenset({"bloom", "mpt"})
_ERRORS = 2.0  # standard errors from which a change is told from chance

OnProgress = Callable[[int, int], None]
How = Literal["left out", "averaged"]


@dataclass(frozen=True, slots=True)
class Change:
    """What a change to the soft prompt does to the answers.

    Attributes:
        loss: By how much the loss grows, in nats a token, mean over the samples; below 0 it shrinks.
        error: Standard error of that mean; ``None`` for a single sample.
        right: By how much the share of samples grows whose whole answer is the likeliest, token by token.
    """

    loss: float
    error: float | None
    right: float

    @property
    def shown(self) -> bool:
        """Whether the loss's change is more than two standard errors from none."""
        return self.error is not None and abs(self.loss) > _ERRORS * self.error


@dataclass(frozen=True, slots=True)
class TokenAblation:
    """One virtual token, or a few neighbours where there are very many.

    Attributes:
        first: The first of them, from 0.
        last: The last of them.
        change: What their absence does.
    """

    first: int
    last: int
    change: Change

    @property
    def name(self) -> str:
        """Its number, or the first and the last."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class PartAblation:
    """Something done to all virtual tokens at once.

    Attributes:
        what: What was done.
        change: What came of it.
    """

    what: str
    change: Change


@dataclass(frozen=True, slots=True)
class Ablation:
    """What is lost without parts of a soft prompt.

    Attributes:
        samples: On how many samples.
        loss: Loss with the whole soft prompt, in nats a token, mean over the samples.
        right: Share of samples whose whole answer is the likeliest, token by token.
        off: What leaving out the soft prompt as a whole does.
        how: How a virtual token is taken away: ``"left out"`` or ``"averaged"``.
        tokens: Token by token.
        parts: Keys and values, all tokens at once; empty where the model does not start from these.
        note: Why tokens could not be left out, where they couldn't.
    """

    samples: int
    loss: float
    right: float
    off: Change
    how: str
    tokens: tuple[TokenAblation, ...]
    parts: tuple[PartAblation, ...]
    note: str = ""

    @property
    def reading(self) -> str:
        """The same in plain words."""
        worst = max(self.tokens, key=lambda token: token.change.loss)
        count = sum(token.change.shown for token in self.tokens)
        told = (
            f"Without the soft prompt the loss {'grows' if self.off.loss >= 0 else 'shrinks'} by {abs(self.off.loss):.3g} nats a token. "
            f"The virtual token that costs most is {worst.name} ({worst.change.loss:+.3g}); {count} of {len(self.tokens)} change the loss "
            "by more than two standard errors."
        )
        if worst.first == 0 and self.how == "left out":
            told += " The first position is special: models rest attention there that they need nowhere else (arXiv:2309.17453)."
        return told


def ablate(
    model: FrozenModel,
    soft_prompt: SoftPrompt,
    prefix: KVPrefix,
    examples: Sequence[Example],
    *,
    how: How | None = None,
    start: KVPrefix | None = None,
    on_progress: OnProgress | None = None,
) -> Ablation:
    """Take a soft prompt apart and see what it costs.

    Left out means as if a virtual token were not there, all others staying in their positions: one made of keys and values is
    hidden from the text; one made of an embedding also from the virtual tokens after it, which are compiled again without it.
    Averaged means as if it were the mean of all virtual tokens: of their keys and values, or of their rows of embeddings.

    Args:
        model: The frozen model.
        soft_prompt: The soft prompt.
        prefix: The same, compiled.
        examples: Samples with their answers.
        how: How to take a virtual token away; ``None`` leaves it out where the model can do without it.
        start: What it started as, compiled: keys and values are put back to it in turn.
        on_progress: Called with the number of variants done and of all.

    Raises:
        InvalidSettingsError: The model can't do without a position, and tokens were to be left out.
    """
    note = _why_not_left_out(model)
    if how == "left out" and note:
        msg = f"how: {model.name} can't leave out virtual tokens: {note}. Choose 'averaged'."
        raise InvalidSettingsError(msg)
    chosen: How = how or ("averaged" if note else "left out")
    meter = _Meter(model, examples, prefix.length)
    whole, bare = meter.scores(prefix), meter.scores(None)
    groups, parts = _groups(prefix.length), list(_parts(prefix, start))
    told = on_progress or _silent
    tokens: list[TokenAblation] = []
    for first, last in groups:
        if chosen == "left out":
            with _hidden(model, first, last):
                scores = meter.scores(_compiled_again(model, soft_prompt, prefix))
        else:
            scores = meter.scores(_averaged(model, soft_prompt, prefix, first, last))
        tokens.append(TokenAblation(first, last, _change(whole, scores)))
        told(len(tokens), len(groups) + len(parts))
    changed: list[PartAblation] = []
    for what, variant in parts:
        changed.append(PartAblation(what, _change(whole, meter.scores(variant))))
        told(len(tokens) + len(changed), len(groups) + len(parts))
    loss, right = statistics.fmean(map(_loss, whole)), statistics.fmean(score.is_greedy for score in whole)
    note = note if how is None else ""
    return Ablation(len(examples), loss, right, _change(whole, bare), chosen, tuple(tokens), tuple(changed), note)


def _silent(_done: int, _total: int) -> None:
    pass


class _Meter:
    """Scores the same examples again and again, by transformers' own forward: the one whose columns can be hidden."""

    def __init__(self, model: FrozenModel, examples: Sequence[Example], length: int) -> None:
        ordered = sorted(examples, key=len)
        size = max(1, min(_MOST_ROWS, _BATCH_POSITIONS // (len(ordered[-1]) + length)))
        self._model = model
        self._batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]

    @torch.no_grad()
    def scores(self, prefix: KVPrefix | None) -> list[CompletionScore]:
        """One an example, in an order of the meter's own."""
        found = []
        for batch in self._batches:
            logits = padded_logits(self._model, prefix, batch).float()
            targets = completion_targets(self._model, batch)
            sizes = [len(example.completion) for example in batch]
            log_probs = logits.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0].cpu().split(sizes)
            likeliest = (logits.argmax(dim=-1) == targets).cpu().split(sizes)
            found += [CompletionScore(tuple(one.tolist()), tuple(right.tolist())) for one, right in zip(log_probs, likeliest, strict=True)]
        return found


@contextmanager
def _hidden(model: FrozenModel, first: int, last: int) -> Iterator[None]:
    """While inside, nothing the model reads sees these columns of its cache; all positions stay as they are."""

    def hide(_: torch.nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        mask = given["attention_mask"].clone()
        mask[:, first : last + 1] = 0
        return args, {**given, "attention_mask": mask}

    handle = model.model.register_forward_pre_hook(hide, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _compiled_again(model: FrozenModel, soft_prompt: SoftPrompt, prefix: KVPrefix) -> KVPrefix:
    """To be called where columns are hidden: rows of embeddings are read anew, so that the later ones don't see them either."""
    rows = soft_prompt.embedding_rows()
    return prefix if rows is None else compile_segments(model, [EmbeddingRows(rows)])


def _averaged(model: FrozenModel, soft_prompt: SoftPrompt, prefix: KVPrefix, first: int, last: int) -> KVPrefix:
    rows = soft_prompt.embedding_rows()
    if rows is not None:
        changed = rows.clone()
        changed[first : last + 1] = rows.mean(dim=0)
        return compile_segments(model, [EmbeddingRows(changed)])
    return _mapped(prefix, lambda keys: _with_mean(keys, first, last), lambda values: _with_mean(values, first, last))


def _parts(prefix: KVPrefix, start: KVPrefix | None) -> Iterator[tuple[str, KVPrefix]]:
    if not prefix.layers:
        return
    last = prefix.length - 1
    yield "every key the mean of all keys", _mapped(prefix, lambda keys: _with_mean(keys, 0, last), _same)
    yield "every value the mean of all values", _mapped(prefix, _same, lambda values: _with_mean(values, 0, last))
    if start is not None and start.layers and start.length == prefix.length:
        pairs = list(zip(prefix.layers, start.layers, strict=True))
        yield "keys as they were before training", KVPrefix(prefix.length, tuple((then[0], now[1]) for now, then in pairs))
        yield "values as they were before training", KVPrefix(prefix.length, tuple((now[0], then[1]) for now, then in pairs))
        yield "both as they were before training", start


def _mapped(prefix: KVPrefix, keys: Callable[[Tensor], Tensor], values: Callable[[Tensor], Tensor]) -> KVPrefix:
    return KVPrefix(prefix.length, tuple((keys(layer[0]), values(layer[1])) for layer in prefix.layers))


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _with_mean(tensor: Tensor, first: int, last: int) -> Tensor:
    """``[heads, length, dim]`` with the mean over the length at some positions."""
    changed = tensor.clone()
    changed[:, first : last + 1] = tensor.float().mean(dim=1, keepdim=True).to(tensor.dtype)
    return changed


def _groups(length: int) -> list[tuple[int, int]]:
    size = math.ceil(length / _MOST_GROUPS)
    return [(first, min(first + size, length) - 1) for first in range(0, length, size)]


def _why_not_left_out(model: FrozenModel) -> str:
    if not model.reuses_prefix:
        return "this model does not start from keys and values, so no position can be hidden from it; tokens are averaged only"
    config = model.model.config.get_text_config()
    if getattr(config, "alibi", False) or config.model_type in _ALIBI:
        return "this model counts positions by what it sees (ALiBi), so hiding one would move all others; tokens are averaged only"
    return ""


def _change(before: Sequence[CompletionScore], after: Sequence[CompletionScore]) -> Change:
    differences = [_loss(now) - _loss(then) for then, now in zip(before, after, strict=True)]
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else None
    right = statistics.fmean(now.is_greedy - then.is_greedy for then, now in zip(before, after, strict=True))
    return Change(statistics.fmean(differences), error, right)


def _loss(score: CompletionScore) -> float:
    return -score.total / len(score.log_probs)


__all__ = ["Ablation", "Change", "PartAblation", "TokenAblation", "ablate"]
