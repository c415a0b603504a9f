"""The fingerprint of weights that lie in files, without loading them."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from langchain_softprompt.frozen_model.fingerprint import Sample, digest_of, sampled_places

logger = logging.getLogger(__name__)

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_LONGEST_HEADER = 100_000_000  # as safetensors itself allows


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where a tensor's numbers lie in a mapped file."""

    content: mmap
    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def numbers(self, places: list[int]) -> Tensor:
        size = self.dtype.itemsize
        picked = b"".join(self.content[self.start + place * size : self.start + (place + 1) * size] for place in places)
        return torch.frombuffer(bytearray(picked), dtype=self.dtype)


def stored_fingerprint(folder: str | Path) -> str | None:
    """What `FrozenModel.fingerprint` is for the model in a folder, by reading 64 numbers of each tensor.

    Args:
        folder: A transformers folder with safetensors weights.

    Returns:
        64 hexadecimal characters; ``None`` where it can't be told without loading the model: there are no safetensors, or their
        tensors do not go by the names and shapes of the model's own parameters.
    """
    path = Path(folder)
    try:
        with ExitStack() as stack:
            stored: dict[str, _Stored] = {}
            for file in _weight_files(path):
                stored.update(_tensors(file, stack))
            return _fingerprint(path, stored) if stored else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        # What is broken here is told in full words when the model is loaded; this is only a look at it.
        logger.debug("The fingerprint of the weights in %s can't be read off their files: %s", path, error)
        return None


def _fingerprint(folder: Path, stored: dict[str, _Stored]) -> str | None:
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    model.tie_weights()
    samples = []
    for name, parameter in sorted(model.named_parameters()):
        found = stored.get(name)
        if found is None or found.shape != tuple(parameter.shape):
            return None
        places = sampled_places(parameter.numel())
        samples.append(Sample(name, found.shape, found.numbers(places.tolist())))
    return digest_of(config.model_type, samples)


def _weight_files(folder: Path) -> list[Path]:
    index = folder / _INDEX
    if (folder / _SINGLE).is_file() or not index.is_file():
        return [folder / _SINGLE]
    names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    if any(Path(name).name != name for name in names):
        msg = f"{_INDEX} names files outside the folder"
        raise ValueError(msg)
    return [folder / name for name in names]


def _tensors(file: Path, stack: ExitStack) -> dict[str, _Stored]:
    """What a safetensors file holds: eight bytes of length, a JSON header of that length, the numbers."""
    opened = stack.enter_context(file.open("rb"))
    content = stack.enter_context(mmap(opened.fileno(), 0, access=ACCESS_READ))
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= min(_LONGEST_HEADER, len(content) - 8):
        msg = f"{file.name} has no safetensors header"
        raise ValueError(msg)
    found = {}
    for name, about in json.loads(content[8 : 8 + length]).items():
        if name == "__metadata__" or about["dtype"] not in _DTYPES:
            continue
        start, end = about["data_offsets"]
        shape, dtype = tuple(about["shape"]), _DTYPES[about["dtype"]]
        if end - start != torch.Size(shape).numel() * dtype.itemsize or not 0 <= start <= end <= len(content) - 8 - length:
            msg = f"{file.name}: the tensor {name[:100]!r} does not lie where the header says"
            raise ValueError(msg)
        found[name] = _Stored(content, 8 + length + start, dtype, shape)
    return found


__all__ = ["stored_fingerprint"]
