"""Learner: the parameters of a soft prompt while it is learned, and the prefix they make."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KVPrefix
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import EMBEDDINGS, PromptTuning

_BOTTLENECK = 128


class Learner(Protocol):
    """What is learned. Parameters are float32, whatever the frozen model computes in."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is learned, by name."""
        ...

    def prefix(self) -> KVPrefix:
        """The prefix that rows start from, with gradients to the parameters."""
        ...

    def soft_prompt(self) -> SoftPrompt:
        """What serving will load, stored as it will be stored."""
        ...


class KeyValueLearner:
    """Keys and values of every layer (prefix tuning, Li and Liang 2021, arXiv:2101.00190; PEFT's ``PREFIX_TUNING``).

    What is learned are multiples of how large they are to start with, for each layer's keys and for its values. AdamW moves every
    number by about the learning rate, and a first layer's values may be fifty times smaller than its keys: one rate
    in absolute numbers would be lost on the keys by the time it tears the values apart.

    Args:
        model: The frozen model; it must continue from a prefix.
        initial: Keys and values to start from, ``[virtual_tokens, num_layers, 2, kv_heads, head_dim]``.
    """

    def __init__(self, model: FrozenModel, initial: Tensor) -> None:
        self._model = model
        whole = initial.detach().float().to(model.device)
        self._scale = _scale(whole)
        self.key_values = nn.Parameter(whole / self._scale)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """As `Learner.parameters`."""
        return {"key_values": self.key_values}

    def prefix(self) -> KVPrefix:
        """As `Learner.prefix`."""
        by_layer = (self.key_values * self._scale).to(self._model.dtype).permute(1, 2, 3, 0, 4)
        return KVPrefix(self.key_values.shape[0], tuple((layer[0], layer[1]) for layer in by_layer))

    def soft_prompt(self) -> SoftPrompt:
        """As `Learner.soft_prompt`."""
        return SoftPrompt.of_key_values(_storable(self.key_values.detach() * self._scale), base_model=self._model.name)


class EmbeddingLearner:
    """Rows of embeddings (prompt tuning, Lester et al. 2021, arXiv:2104.08691; PEFT's ``PROMPT_TUNING``).

    The rows are compiled once a step, with gradients, and all rows of a batch share what comes out. So a virtual token
    costs a step one position, not one position a row.

    Args:
        model: The frozen model.
        initial: Rows to start from, ``[virtual_tokens, hidden_size]``.
        residual: Learn through a bottleneck with a bypass around it (Razdaibiedina et al. 2023, arXiv:2305.03937),
            which starts as nothing at all and is computed into the rows when they are stored.
    """

    def __init__(self, model: FrozenModel, initial: Tensor, *, residual: bool = False) -> None:
        self._model = model
        device = model.device
        self.rows = nn.Parameter(initial.detach().float().clone().to(device))
        self._network: nn.Module | None = None
        if residual:
            width = initial.shape[1]
            down, up = nn.Linear(width, _BOTTLENECK), nn.Linear(_BOTTLENECK, width)
            nn.init.zeros_(up.weight)
            nn.init.zeros_(up.bias)
            self._network = nn.Sequential(nn.LayerNorm(width), down, nn.ReLU(), up).to(device)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """As `Learner.parameters`."""
        network = dict(self._network.named_parameters(prefix="network")) if self._network is not None else {}
        return {"rows": self.rows, **network}

    def prefix(self) -> KVPrefix:
        """As `Learner.prefix`."""
        rows = self._final_rows().to(self._model.dtype)
        length = rows.shape[0]
        if not self._model.reuses_prefix:
            return KVPrefix(length, embeddings=rows)
        cache = DynamicCache()
        base = self._model.model.base_model
        positions = torch.arange(length, device=rows.device)[None]
        base(inputs_embeds=rows[None], past_key_values=cache, position_ids=positions, use_cache=True)
        grown: list[Any] = cache.layers
        return KVPrefix(length, tuple((layer.keys[0], layer.values[0]) for layer in grown))

    def soft_prompt(self) -> SoftPrompt:
        """As `Learner.soft_prompt`."""
        rows = self._final_rows()
        config = PromptTuning(
            peft_type="PROMPT_TUNING",
            task_type="CAUSAL_LM",
            base_model_name_or_path=self._model.name,
            num_virtual_tokens=rows.shape[0],
            token_dim=rows.shape[1],
        )
        return SoftPrompt(config, {EMBEDDINGS: rows.detach().float().cpu().clone()})

    def _final_rows(self) -> Tensor:
        if self._network is None:
            return self.rows
        added: Tensor = self._network(self.rows)
        return self.rows + added


def check_one_shape(model: FrozenModel) -> None:
    """Refuse a model whose keys and values PEFT's format can't hold.

    Raises:
        FrozenModelError: The layers' keys and values differ in shape.
    """
    if len(set(model.key_value_shapes)) > 1 or any(key != value for _, key, value in model.key_value_shapes):
        msg = (
            f"The layers of {model.name} hold keys and values of different shapes, and PEFT's format has one shape for all. "
            "Train with the method prompt-tuning."
        )
        raise FrozenModelError(msg)


def _scale(key_values: Tensor) -> Tensor:
    """The root mean square of each layer's keys and of its values, to the nearest power of two: dividing by it rounds nothing."""
    square = key_values.square().mean(dim=(0, 3, 4), keepdim=True)
    usual = square.clamp(min=2.0**-40).log2().div(2).round().exp2()
    return torch.where(square > 0, usual, torch.ones_like(usual))


def _storable(key_values: Tensor) -> Tensor:
    """Half the file where float16 holds every number."""
    whole = key_values.detach().float().cpu().clone()
    half = whole.to(torch.float16)
    return half if bool(torch.isfinite(half).all()) else whole


__all__ = ["EmbeddingLearner", "KeyValueLearner", "Learner", "check_one_shape"]
