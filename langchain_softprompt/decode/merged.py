"""MergedRows: all running rows in one left-padded cache, one forward a step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache, DynamicCache, DynamicLayer

from langchain_softprompt.frozen_model import FrozenModel

_Layers = dict[int, tuple[Tensor, Tensor]]


class MergedRows:
    """Rows of different lengths and prefixes that decode in one forward.

    Each row's keys and values stand together at the right end of the merged cache, so distances between positions are
    the row's own and index-based sliding windows stay exact; a 2-D mask hides the padding on the left. The merged
    cache is rebuilt only when rows have joined or left since the last step.
    """

    def __init__(self, model: FrozenModel) -> None:
        self._model = model
        self._lengths: dict[int, int] = {}
        self._joining: dict[int, _Layers] = {}
        self._merged: list[int] = []
        self._cache: Cache = DynamicCache()
        self._width = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, row: int, cache: Cache, length: int) -> None:
        """Take over a prefilled row."""
        self._joining[row] = _layers(cache)
        self._lengths[row] = length

    def remove(self, row: int) -> None:
        """Free a row; nothing happens when it is not held."""
        self._lengths.pop(row, None)
        self._joining.pop(row, None)
        if not self._lengths:
            self.clear()

    def step(self, tokens: Mapping[int, int]) -> dict[int, Tensor]:
        """Append one token to every row held and return each row's next logits."""
        if self._merged != list(self._lengths):
            self._rebuild()
        device = self._model.device
        lengths = torch.tensor([[self._lengths[row]] for row in self._merged], device=device)
        output = self._model.model(
            input_ids=torch.tensor([[tokens[row]] for row in self._merged], device=device),
            attention_mask=(torch.arange(self._width + 1, device=device)[None] >= self._width - lengths).long(),
            position_ids=lengths,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._width += 1
        for row in self._merged:
            self._lengths[row] += 1
        return dict(zip(self._merged, output.logits[:, -1].float(), strict=True))

    def row_cache(self, row: int) -> Cache:
        """What one row has read so far, as a cache of its own."""
        place, layers = 0, self._joining.get(row)
        if layers is None:
            place, layers = self._merged.index(row), _layers(self._cache)
        length = self._lengths[row]
        cache = DynamicCache()
        for index, (keys, values) in layers.items():
            cache.update(keys[place : place + 1, :, -length:], values[place : place + 1, :, -length:], index)
        return cache

    def clear(self) -> None:
        """Free every row."""
        self._lengths.clear()
        self._joining.clear()
        self._merged = []
        self._cache = DynamicCache()
        self._width = 0

    def _rebuild(self) -> None:
        width = max(self._lengths.values())
        stays = [place for place, row in enumerate(self._merged) if row in self._lengths]
        sources = list(self._joining.values())
        if stays:
            kept = {index: (keys[stays], values[stays]) for index, (keys, values) in _layers(self._cache).items()}
            sources.insert(0, kept)
        self._cache = DynamicCache()
        for index in sources[0]:
            keys = _right_aligned([source[index][0] for source in sources], width)
            values = _right_aligned([source[index][1] for source in sources], width)
            self._cache.update(keys, values, index)
        self._merged = list(self._lengths)
        self._joining.clear()
        self._width = width


def _layers(cache: Cache) -> _Layers:
    """Keys and values of the layers that hold some; where layers share them, some never do."""
    filled: _Layers = {}
    for index, layer in enumerate(cache.layers):
        if type(layer) is not DynamicLayer:
            msg = f"Only plain growing cache layers can be merged, layer {index} is a {type(layer).__name__}."
            raise TypeError(msg)
        if layer.keys is not None and layer.values is not None:
            filled[index] = (layer.keys, layer.values)
    return filled


def _right_aligned(rows: list[Tensor], width: int) -> Tensor:
    """Stack `[rows, heads, length, dim]` tensors of different lengths, padded (or cut, when negative) on the left."""
    return torch.cat([pad(row, (0, 0, width - row.shape[-2], 0)) for row in rows])


__all__ = ["MergedRows"]
