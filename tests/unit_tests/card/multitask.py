"""A multitask soft prompt for the tiny model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from langchain_softprompt.soft_prompt import Manifest, SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import read_config
from tests.unit_tests.card.cards import manifest

_HIDDEN_SIZE = 32


def multitask(names: Sequence[str], *, task: int) -> SoftPrompt:
    """One that knows as many tasks as it is given names, worn for one of them."""
    config = read_config(
        {
            "peft_type": "MULTITASK_PROMPT_TUNING",
            "task_type": "CAUSAL_LM",
            "num_virtual_tokens": 4,
            "token_dim": _HIDDEN_SIZE,
            "num_layers": 2,
            "num_attention_heads": 4,
            "num_tasks": len(names),
            "num_ranks": 1,
        }
    )
    numbers = torch.Generator().manual_seed(0)
    shapes = {
        "prompt_embeddings": (4, _HIDDEN_SIZE),
        "prefix_task_cols": (len(names), 4, 1),
        "prefix_task_rows": (len(names), 1, _HIDDEN_SIZE),
    }
    tensors = {name: torch.randn(shape, generator=numbers) for name, shape in shapes.items()}
    return SoftPrompt(config, tensors, task=task, manifest=Manifest.from_json(manifest(tasks=list(names))))
