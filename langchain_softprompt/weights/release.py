"""let_go_of_files: once most weights have been packed, the file they were read from need not stay in memory."""

from __future__ import annotations

import ctypes
import gc
import logging
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


@torch.inference_mode(mode=False)
def let_go_of_files(model: PreTrainedModel) -> None:
    """Copy what is left of a model's weights to memory of its own, and give freed memory back to the system.

    Weights are read in place from a mapped safetensors file, and one small tensor left in it keeps the whole file resident,
    beside the packed copies.
    """
    for tensor in (*model.parameters(), *model.buffers()):  # each once, tied or not
        if tensor.device.type == "cpu" and not tensor.is_inference():  # those were made in memory
            tensor.data = tensor.data.clone()
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # not glibc
        logger.debug("The C library has no malloc_trim; freed memory may stay with the process.")


__all__ = ["let_go_of_files"]
