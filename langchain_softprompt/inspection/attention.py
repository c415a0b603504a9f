"""Attention share: where the model looks. Where it looks is not why it says something."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KVPrefix

NOTE = "Where the model looks, not why: attention says which positions were read, not what they did to the answer (arXiv:1902.10186)."

_POSITIONS = 64


@dataclass(frozen=True, slots=True)
class LayerAttention:
    """The share of attention that the soft prompt gets in one layer, mean over heads and inputs.

    Attributes:
        layer: Its number, from 0.
        tokens: The share of each virtual token, seen from the last position of the text, where the answer begins.
        everywhere: The share of the whole soft prompt, mean over the positions of the text, of a long one its last 64.
    """

    layer: int
    tokens: tuple[float, ...]
    everywhere: float

    @property
    def share(self) -> float:
        """The share of the whole soft prompt where the answer begins."""
        return sum(self.tokens)


@dataclass(frozen=True, slots=True)
class Attention:
    """The share of attention that the soft prompt gets.

    Attributes:
        layers: Layer by layer.
        even: What it would get where the answer begins if all positions got the same.
        inputs: Over how many inputs.
        note: How to take it.
    """

    layers: tuple[LayerAttention, ...]
    even: float
    inputs: int
    note: str = NOTE

    @property
    def share(self) -> float:
        """Mean over the layers where the answer begins."""
        return statistics.fmean(layer.share for layer in self.layers)

    @property
    def first_token(self) -> float:
        """Of that, the share of the first virtual token alone."""
        return statistics.fmean(layer.tokens[0] for layer in self.layers)

    @property
    def reading(self) -> str:
        """The same in plain words."""
        told = (
            f"Where the answer begins, {self.share:.0%} of the attention is on the soft prompt, {self.first_token:.0%} on its first "
            f"virtual token alone; evenly spread it would be {self.even:.0%}."
        )
        if self.first_token > self.share / 2:
            told += " Models rest attention they need nowhere else on the first position (arXiv:2309.17453), so that part says little."
        return told


@torch.inference_mode()
def measure_attention(
    model: FrozenModel, prefix: KVPrefix, texts: Sequence[Sequence[int]], *, on_progress: Callable[[int, int], None] | None = None
) -> Attention:
    """Read texts after a soft prompt with transformers' own eager attention, and keep what it attended to.

    Args:
        model: The frozen model, one that starts from keys and values; no engine may be using it meanwhile.
        prefix: The compiled soft prompt.
        texts: Token ids of each text.
        on_progress: Called with the number of texts done and of all.
    """
    sums: list[Tensor] = []
    everywhere: list[float] = []
    even = 0.0
    with _eager(model):
        for done, text in enumerate(texts, start=1):
            weights = _read(model, prefix, text)
            looked = [layer[0, :, :, : prefix.length].mean(dim=0).cpu().double() for layer in weights]
            sums = [layer[-1] + before for layer, before in zip(looked, sums or [torch.zeros(prefix.length)] * len(looked), strict=True)]
            everywhere = [
                float(layer.sum(dim=1).mean()) + before for layer, before in zip(looked, everywhere or [0.0] * len(looked), strict=True)
            ]
            even += prefix.length / (prefix.length + len(text))
            if on_progress is not None:
                on_progress(done, len(texts))
    count = len(texts)
    layers = [
        LayerAttention(number, tuple((tokens / count).tolist()), total / count)
        for number, (tokens, total) in enumerate(zip(sums, everywhere, strict=True))
    ]
    return Attention(tuple(layers), even / count, count)


def _read(model: FrozenModel, prefix: KVPrefix, text: Sequence[int]) -> tuple[Tensor, ...]:
    """Attention of each layer from the text's last positions, ``[1, heads, positions, prefix + text]``."""
    cache, start = prefix.to_cache(model), max(0, len(text) - _POSITIONS)
    if start:  # Weights of all positions would take memory by the square of the text.
        model.forward(input_ids=torch.tensor([list(text[:start])], device=model.device), cache=cache, past_length=prefix.length)
    past, total = prefix.length + start, prefix.length + len(text)
    output = model.model(
        input_ids=torch.tensor([list(text[start:])], device=model.device),
        attention_mask=torch.ones(1, total, dtype=torch.long, device=model.device),
        position_ids=torch.arange(past, total, device=model.device)[None],
        past_key_values=cache,
        use_cache=True,
        output_attentions=True,
        logits_to_keep=1,
    )
    attentions: tuple[Tensor, ...] = output.attentions
    return attentions


@contextmanager
def _eager(model: FrozenModel) -> Iterator[None]:
    """Only eager attention gives its weights away; afterwards the model attends as before."""
    before = model.model.config._attn_implementation  # noqa: SLF001 - transformers has a public way to set it, none to ask
    model.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.model.set_attn_implementation(before)


__all__ = ["NOTE", "Attention", "LayerAttention", "measure_attention"]
