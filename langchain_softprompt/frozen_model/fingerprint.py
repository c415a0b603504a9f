"""What identifies a set of weights."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SAMPLES = 64


def fingerprint(model: PreTrainedModel) -> str:
    """Hash the architecture's name, every parameter's name and shape, and 64 evenly spaced values of each.

    Values are compared as bfloat16, so the same checkpoint gives the same fingerprint whether it is loaded in float32
    or bfloat16 and on whatever device. Loaded in float16 it is another model: float16 drops other digits than bfloat16
    does. Fine-tuning any layer changes it.

    Returns:
        64 hexadecimal characters (SHA-256).
    """
    digest = hashlib.sha256(str(model.config.model_type).encode())
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            flat = parameter.detach().reshape(-1)
            at = torch.linspace(0, max(flat.numel() - 1, 0), min(_SAMPLES, flat.numel()), dtype=torch.float64).long()
            sample = flat[at.to(flat.device)].to(device="cpu", dtype=torch.bfloat16)
            digest.update(f"{name}{tuple(parameter.shape)}".encode())
            digest.update(sample.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
