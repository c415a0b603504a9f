"""pack_linears: lay a model's linear layers out for serving on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.weights.half import HalfWeight, has_half_operator
from langchain_softprompt.weights.input_ranges import input_ranges
from langchain_softprompt.weights.int8 import Int8Weight, has_int8_operator
from langchain_softprompt.weights.prepacked import PrepackedWeight, can_prepack
from langchain_softprompt.weights.release import let_go_of_files
from langchain_softprompt.weights.shared import PackedLinear, SharedLinear, SharedProduct
from langchain_softprompt.weights.weight import Weight

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

# A head that is the embedding as well is held twice once it is packed; small ones are worth it.
_SMALL_HEAD_BYTES = 1 << 27
# Siblings that most families call with one and the same input.
_SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))

_Make = Callable[[nn.Module, Tensor, Tensor | None], Weight]


@dataclass(frozen=True, slots=True)
class Packing:
    """What was done.

    Attributes:
        packed: How many linear layers were laid out anew.
        fast: Whether the machine has an operator of its own for them.
    """

    packed: int
    fast: bool


@torch.inference_mode()
def pack_linears(model: PreTrainedModel, quantization: str | None = None) -> Packing:
    """Replace a model's linear layers, in place, by ones that are quicker to multiply; they have no gradients.

    Without quantization the weights stay what they are; where the platform has nothing quicker, so does their layout.

    Args:
        model: The transformers model.
        quantization: ``None``, or ``"int8"`` for weights and activations of eight bits (as in LLM.int8(), arXiv:2208.07339,
            without its outliers kept apart).

    Raises:
        FrozenModelError: The model can't be quantized here.
    """
    if quantization is not None and model.device.type != "cpu":
        msg = f"quantization={quantization!r} works on the CPU; this model is on {model.device}. Load it with device='cpu'."
        raise FrozenModelError(msg)
    make: _Make
    if quantization is not None:
        fast, ranges = has_int8_operator(), input_ranges(model)
        make = lambda layer, weight, bias: Int8Weight(weight, bias, ranges.get(layer))  # noqa: E731
        if not fast:
            logger.warning("This machine has no fast operator for int8: the weights are smaller, but answers take no less time.")
    elif model.device.type == "cpu" and can_prepack(model.dtype):
        fast, make = True, lambda _, weight, bias: PrepackedWeight(weight, bias)
    elif model.device.type == "cpu" and model.dtype in (torch.bfloat16, torch.float16) and has_half_operator():
        fast, make = True, lambda _, weight, bias: HalfWeight(weight, bias)
    else:
        return Packing(0, fast=False)
    weights = _matrices(model)
    count = _pack(model, make, head=quantization is not None)
    if count:
        let_go_of_files(model)
    if quantization is not None and not count:
        msg = f"{type(model).__name__} has no linear layers that could be quantized. Load it without quantization."
        raise FrozenModelError(msg)
    left = _matrices(model)
    if quantization is not None and left > weights / 2:
        logger.warning(
            "quantization=%r changes few of the weights of %s: %.0f %% stay in %s, as they are not in plain linear layers.",
            quantization,
            type(model).__name__,
            100 * left / weights,
            str(model.dtype).removeprefix("torch."),
        )
    return Packing(count, fast)


def _pack(model: PreTrainedModel, make: _Make, *, head: bool) -> int:
    embedding = model.get_input_embeddings()
    count = 0
    for parent in list(model.modules()):
        for names in _groups(parent):
            layers = [getattr(parent, name) for name in names]
            if not head and any(_is_large_and_tied(layer, embedding) for layer in layers):
                continue
            if len(layers) == 1:
                replaced: list[nn.Module] = [PackedLinear(make(layers[0], layers[0].weight, layers[0].bias), *_shape(layers[0]))]
            else:
                weight = torch.cat([layer.weight for layer in layers])
                bias = torch.cat([layer.bias for layer in layers]) if layers[0].bias is not None else None
                product = SharedProduct(make(layers[0], weight, bias), [layer.out_features for layer in layers])
                replaced = [SharedLinear(product, index, *_shape(layer)) for index, layer in enumerate(layers)]
            for name, module in zip(names, replaced, strict=True):
                setattr(parent, name, module)
            count += len(layers)
    return count


def _matrices(model: PreTrainedModel) -> int:
    """How many numbers there are in matrices that a pass multiplies by, the embedding not among them."""
    embedding = model.get_input_embeddings()
    return sum(
        parameter.numel() for parameter in model.parameters() if parameter.dim() > 1 and parameter is not getattr(embedding, "weight", None)
    )


def _groups(parent: nn.Module) -> Iterator[tuple[str, ...]]:
    """The linear layers right under a module, those that can be multiplied together as one."""
    left = {name: child for name, child in parent.named_children() if type(child) is nn.Linear}
    for names in _SIBLINGS:
        siblings = [left[name] for name in names if name in left]
        alike = {(layer.in_features, layer.bias is None) for layer in siblings}
        if len(siblings) == len(names) and len(alike) == 1:
            for name in names:
                del left[name]
            yield names
    yield from ((name,) for name in left)


def _is_large_and_tied(layer: nn.Linear, embedding: nn.Module) -> bool:
    return layer.weight is getattr(embedding, "weight", None) and layer.weight.nbytes > _SMALL_HEAD_BYTES


def _shape(layer: nn.Linear) -> tuple[int, int]:
    return layer.in_features, layer.out_features


__all__ = ["Packing", "pack_linears"]
