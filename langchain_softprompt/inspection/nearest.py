"""Nearest tokens: which words of the vocabulary lie closest. Not an explanation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor
from transformers import DynamicCache

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.soft_prompt import SoftPrompt

NOTE = (
    "Not an explanation. Soft prompts can be trained to lie next to any text at all, even one that says the opposite of their task, "
    "and still do it almost as well (Khashabi et al. 2022, arXiv:2112.08348). Read this as a place, not as a meaning."
)
_NEIGHBOURS = 5
_BATCH = 2048
_FAR = 7  # any position but the first


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A word of the vocabulary near a virtual token.

    Attributes:
        token: The word as text.
        cosine: Of the angle between the two.
    """

    token: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest words of each virtual token.

    Attributes:
        of: What is compared: rows of embeddings, or the values of the first layer, which depend on the token alone.
        tokens: For each virtual token its nearest words, the nearest first.
        note: Why this is not an explanation.
    """

    of: str
    tokens: tuple[tuple[Neighbour, ...], ...]
    note: str = NOTE

    @property
    def reading(self) -> str:
        """The nearest word of each virtual token in a row, and the warning."""
        return f"{''.join(near[0].token for near in self.tokens)!r}, by the cosine of {self.of}. {self.note}"


@torch.inference_mode()
def find_nearest(model: FrozenModel, soft_prompt: SoftPrompt) -> Nearest | str:
    """Find the nearest words of each virtual token.

    Rows of embeddings are compared with those of the vocabulary. Of keys and values only the first layer's values can be
    compared: in most models these depend on the token alone, neither on its position nor on its context, so each word of the
    vocabulary has its own.

    Args:
        model: The frozen model.
        soft_prompt: The soft prompt.

    Returns:
        The nearest words, or why there are none to find.
    """
    if model.tokenizer is None:
        return f"{model.name} was wrapped without a tokenizer, so its tokens have no words"
    rows, key_values = soft_prompt.embedding_rows(), soft_prompt.key_values()
    if rows is not None:
        return Nearest("its rows with those of the vocabulary", _search(model, rows, _vocabulary(model)))
    if key_values is None:
        return "it holds neither embeddings nor keys and values"
    ids = torch.arange(min(8, model.vocab_size), device=model.device)
    here, there = (_first_values(model, ids, position) for position in (0, _FAR))
    if not torch.allclose(here, there, atol=1e-3 * float(here.abs().max())):
        return "in this model even the first layer's values depend on the position, so words have no value of their own to compare with"
    own = key_values[:, 0, 1].flatten(1)
    return Nearest("its values in the first layer with those of the vocabulary", _search(model, own, _vocabulary_values(model)))


def _vocabulary(model: FrozenModel) -> Iterator[Tensor]:
    for start in range(0, model.vocab_size, _BATCH):
        yield model.embed(torch.arange(start, min(start + _BATCH, model.vocab_size), device=model.device))


def _vocabulary_values(model: FrozenModel) -> Iterator[Tensor]:
    for start in range(0, model.vocab_size, _BATCH):
        yield _first_values(model, torch.arange(start, min(start + _BATCH, model.vocab_size), device=model.device), 0)


def _search(model: FrozenModel, own: Tensor, vocabulary: Iterator[Tensor]) -> tuple[tuple[Neighbour, ...], ...]:
    mine = torch.nn.functional.normalize(own.float().to(model.device), dim=1)
    cosines = torch.cat([mine @ torch.nn.functional.normalize(part.float(), dim=1).T for part in vocabulary], dim=1)
    top = cosines.topk(min(_NEIGHBOURS, cosines.shape[1]), dim=1)
    tokenizer: Any = model.tokenizer
    return tuple(
        tuple(Neighbour(str(tokenizer.decode([token])), cosine) for token, cosine in zip(ids, near, strict=True))
        for ids, near in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    )


def _first_values(model: FrozenModel, ids: Tensor, position: int) -> Tensor:
    """The first layer's values of tokens that each stand alone, ``[tokens, heads * dim]``."""
    cache = _FirstLayer()
    with suppress(_EnoughError):
        model.model(
            input_ids=ids[:, None],
            attention_mask=torch.ones(len(ids), 1, dtype=torch.long, device=model.device),
            position_ids=torch.full((len(ids), 1), position, device=model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return cache.found.transpose(1, 2).flatten(1).float()


class _EnoughError(Exception):
    """Nothing beyond the first layer's values is wanted."""


class _FirstLayer(DynamicCache):
    """A cache that stops the pass where the first layer hands in its values."""

    found: Tensor

    def update(self, _keys: Tensor, values: Tensor, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        self.found = values
        raise _EnoughError


__all__ = ["NOTE", "Nearest", "Neighbour", "find_nearest"]
