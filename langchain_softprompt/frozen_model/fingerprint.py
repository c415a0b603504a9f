"""What identifies a set of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SAMPLES = 64


class Sample(NamedTuple):
    """Some numbers of one parameter, those at `sampled_places`."""

    name: str
    shape: tuple[int, ...]
    numbers: Tensor


def fingerprint(model: PreTrainedModel) -> str:
    """Hash the architecture's name, every parameter's name and shape, and 64 evenly spaced values of each.

    Values are compared as bfloat16, so the same checkpoint gives the same fingerprint whether it is loaded in float32
    or bfloat16 and on whatever device. Loaded in float16 it is another model: float16 drops other digits than bfloat16
    does. Fine-tuning any layer changes it.

    Returns:
        64 hexadecimal characters (SHA-256).
    """
    with torch.no_grad():
        return digest_of(
            model.config.model_type,
            (
                Sample(name, tuple(parameter.shape), _taken(parameter.detach().reshape(-1)))
                for name, parameter in sorted(model.named_parameters())
            ),
        )


def sampled_places(size: int) -> Tensor:
    """Which of so many numbers are looked at."""
    return torch.linspace(0, max(size - 1, 0), min(_SAMPLES, size), dtype=torch.float64).long()


def digest_of(model_type: str, samples: Iterable[Sample]) -> str:
    """The fingerprint of parameters that come in the order of their names."""
    digest = hashlib.sha256(model_type.encode())
    for name, shape, numbers in samples:
        digest.update(f"{name}{shape}".encode())
        digest.update(numbers.to(device="cpu", dtype=torch.bfloat16).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _taken(flat: Tensor) -> Tensor:
    return flat[sampled_places(flat.numel()).to(flat.device)]
