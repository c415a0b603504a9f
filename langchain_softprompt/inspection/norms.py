"""Norms: are a soft prompt's vectors as long as those of real tokens?"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_softprompt.evaluation.knowledge import neutral_texts
from langchain_softprompt.frozen_model import FrozenModel, encode_text
from langchain_softprompt.inspection.samples import hard_prompt_ids
from langchain_softprompt.prefix import KVPrefix, TokenIds, compile_segments
from langchain_softprompt.soft_prompt import SoftPrompt

_ALIKE = 1.5  # times as long, or as short, as those of real tokens
_HISTOGRAM_VALUES = 2000


@dataclass(frozen=True, slots=True)
class EmbeddingNorms:
    """Lengths of the rows of embeddings beside those of the vocabulary.

    Attributes:
        rows: Euclidean norm of each virtual token's row.
        percentiles: For each of them the share of vocabulary rows that are shorter, from 0 to 1.
        vocabulary: Norms of vocabulary rows: all of them, or evenly many out of the sorted ones.
        median: Median over the whole vocabulary.
        low: Its 5th percentile.
        high: Its 95th.
    """

    rows: tuple[float, ...]
    percentiles: tuple[float, ...]
    vocabulary: tuple[float, ...]
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LayerNorms:
    """Lengths of keys and values in one layer: Euclidean norms over all heads, one a position.

    Attributes:
        layer: Its number, from 0.
        keys: Of the soft prompt's keys, one a virtual token.
        values: Of its values.
        real_key: Median over the keys of real text, its first position left out, which models use as a place to rest attention.
        real_value: Median over its values.
    """

    layer: int
    keys: tuple[float, ...]
    values: tuple[float, ...]
    real_key: float
    real_value: float

    @property
    def key_ratio(self) -> float:
        """Median of the soft prompt's keys (but for its first) over that of real text."""
        return _ratio(self.keys, self.real_key)

    @property
    def value_ratio(self) -> float:
        """The same of its values."""
        return _ratio(self.values, self.real_value)


@dataclass(frozen=True, slots=True)
class Norms:
    """Lengths of a soft prompt's vectors.

    Attributes:
        embeddings: Of its rows of embeddings; ``None`` where it holds keys and values.
        layers: Of the keys and values it compiles to, layer by layer; empty where the model does not start from these.
        compared_with: The real text whose keys and values they are compared with.
    """

    embeddings: EmbeddingNorms | None
    layers: tuple[LayerNorms, ...]
    compared_with: str

    @property
    def reading(self) -> str:
        """The same in a plain sentence or two."""
        said = []
        if self.embeddings is not None:
            middle, real = statistics.median(self.embeddings.rows), self.embeddings.median
            said.append(f"Its rows are {_times(middle / real if real else float('nan'))} as those of the vocabulary, in the median.")
        if self.layers:
            keys = statistics.median(layer.key_ratio for layer in self.layers)
            values = statistics.median(layer.value_ratio for layer in self.layers)
            far = max(self.layers, key=lambda layer: max(layer.value_ratio, 1 / layer.value_ratio if layer.value_ratio else 0.0))
            said.append(
                f"Its keys are {_times(keys)} and its values {_times(values)} as those of {self.compared_with}, in the median over the "
                f"layers; the values of layer {far.layer} differ most ({far.value_ratio:.2f} times)."
            )
        return " ".join(said) or "There is nothing to compare: this model reads it anew with each request."


@torch.inference_mode()
def measure_norms(model: FrozenModel, soft_prompt: SoftPrompt, prefix: KVPrefix) -> Norms:
    """Measure a soft prompt's vectors beside those of real tokens.

    Args:
        model: The frozen model.
        soft_prompt: The soft prompt.
        prefix: The same, compiled.
    """
    rows = soft_prompt.embedding_rows()
    embeddings = _embedding_norms(model, rows) if rows is not None else None
    if not prefix.layers:
        return Norms(embeddings, (), "")
    real, told = _real_text(model, soft_prompt)
    layers = []
    for number, ((keys, values), (real_keys, real_values)) in enumerate(zip(prefix.layers, real.layers, strict=True)):
        middle = [float(_lengths(tensor)[1:].median()) for tensor in (real_keys, real_values)]
        layers.append(LayerNorms(number, tuple(_lengths(keys).tolist()), tuple(_lengths(values).tolist()), *middle))
    return Norms(embeddings, tuple(layers), told)


def _embedding_norms(model: FrozenModel, rows: Tensor) -> EmbeddingNorms:
    everything = [
        model.embed(torch.arange(start, min(start + 4096, model.vocab_size), device=model.device)).float().norm(dim=1)
        for start in range(0, model.vocab_size, 4096)
    ]
    vocabulary = torch.cat(everything).cpu().sort().values
    own = rows.float().norm(dim=1)
    shares = torch.searchsorted(vocabulary, own) / len(vocabulary)
    low, median, high = torch.quantile(vocabulary, torch.tensor([0.05, 0.5, 0.95])).tolist()
    kept = vocabulary
    if len(vocabulary) > _HISTOGRAM_VALUES:
        kept = vocabulary[torch.linspace(0, len(vocabulary) - 1, _HISTOGRAM_VALUES).long()]
    return EmbeddingNorms(tuple(own.tolist()), tuple(shares.tolist()), tuple(kept.tolist()), median, low, high)


def _real_text(model: FrozenModel, soft_prompt: SoftPrompt) -> tuple[KVPrefix, str]:
    """Keys and values of the hard prompt it was made with, else of neutral text, as many positions as it has where there are as many."""
    ids, told = hard_prompt_ids(model, soft_prompt) or [], "the hard prompt it was made with"
    if len(ids) < 2:
        told = "neutral text"
        if model.tokenizer is not None:
            ids = encode_text(model.tokenizer, " ".join(neutral_texts()))
        else:
            told = "tokens from all over the vocabulary"
            ids = torch.linspace(0, model.vocab_size - 1, 64).long().tolist()
    longest = max(2, soft_prompt.num_virtual_tokens)
    return compile_segments(model, [TokenIds(ids[:longest])]), told


def _lengths(tensor: Tensor) -> Tensor:
    """``[heads, length, dim]`` to ``[length]``."""
    lengths: Tensor = tensor.float().transpose(0, 1).flatten(1).norm(dim=1)
    return lengths.cpu()


def _ratio(own: tuple[float, ...], real: float) -> float:
    return statistics.median(own[1:] or own) / real if real else float("nan")


def _times(ratio: float) -> str:
    if 1 / _ALIKE <= ratio <= _ALIKE:
        return f"about as long ({ratio:.2f} times)"
    return f"{ratio:.2f} times as long"


__all__ = ["EmbeddingNorms", "LayerNorms", "Norms", "measure_norms"]
