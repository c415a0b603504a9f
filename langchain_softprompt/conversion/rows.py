"""A matrix becomes a soft prompt of type ``PROMPT_TUNING``."""

from __future__ import annotations

import torch
from torch import Tensor

from langchain_softprompt.errors import InvalidSoftPromptError, NonFiniteSoftPromptError
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import EMBEDDINGS, MAX_VIRTUAL_TOKENS, read_config

# More than twice the hidden size of the widest open model.
MOST_COLUMNS = 65_536


def check_sizes(file: str, shape: tuple[int, ...], *, most_rows: int = MAX_VIRTUAL_TOKENS) -> None:
    """Refuse what is no matrix of a sensible size; called before its numbers are looked at.

    Args:
        file: What the file is called in messages.
        shape: Sizes as the file states them.
        most_rows: Most rows of the format.

    Raises:
        InvalidSoftPromptError: It has another number of dimensions, or too few or too many rows or columns.
    """
    if len(shape) != 2:
        found = " x ".join(map(str, shape)) or "one number"
        raise InvalidSoftPromptError(file=file, field="shape", expected="virtual tokens x hidden size", found=found)
    for field, size, most in (("rows", shape[0], most_rows), ("columns", shape[1], MOST_COLUMNS)):
        if not 1 <= size <= most:
            raise InvalidSoftPromptError(file=file, field=field, expected=f"1 to {most}", found=str(size))


def as_soft_prompt(file: str, rows: Tensor, *, base_model: str | None, source: str) -> SoftPrompt:
    """A soft prompt of these rows, as PEFT's prompt tuning (Lester et al. 2021, arXiv:2104.08691) has them.

    Args:
        file: What the file is called in messages.
        rows: Embeddings, ``[virtual_tokens, hidden_size]``, float32, float16 or bfloat16.
        base_model: Name of the frozen model, for PEFT.
        source: What the soft prompt is called.

    Raises:
        NonFiniteSoftPromptError: There is NaN or Inf among the numbers.
        InvalidSoftPromptError: The name of the model can't be written down.
    """
    if not bool(torch.isfinite(rows).all()):
        bad = int((~torch.isfinite(rows)).sum())
        raise NonFiniteSoftPromptError(file=file, field="numbers", expected="finite numbers", found=f"{bad} NaN or Inf")
    content = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "num_virtual_tokens": rows.shape[0],
        "token_dim": rows.shape[1],
    }
    return SoftPrompt(read_config(content), {EMBEDDINGS: rows}, source=source)


__all__ = ["MOST_COLUMNS", "as_soft_prompt", "check_sizes"]
