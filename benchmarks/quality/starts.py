"""What PEFT's own methods start as, made by PEFT; from there our loop takes PEFT's gradients (tests/unit_tests/training)."""

from __future__ import annotations

import tempfile

import torch
from peft import PrefixTuningConfig, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.soft_prompt import SoftPrompt

WAYS = {"peft prompt tuning": "prompt-tuning", "peft prefix tuning": "kv-prefix"}


def peft_start(model: FrozenModel, way: str, virtual_tokens: int, seed: int) -> SoftPrompt:
    """A soft prompt as PEFT creates it: vocabulary rows for prompt tuning, random keys and values for prefix tuning."""
    torch.manual_seed(seed)
    common = {"task_type": TaskType.CAUSAL_LM, "num_virtual_tokens": virtual_tokens}
    if way == "peft prompt tuning":
        config = PromptTuningConfig(**common, prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB)
    else:
        config = PrefixTuningConfig(**common)
    requires = [parameter.requires_grad for parameter in model.model.parameters()]
    wrapped = get_peft_model(model.model, config)
    with tempfile.TemporaryDirectory() as folder:
        wrapped.save_pretrained(folder)
        start = SoftPrompt.load(folder)
    for parameter, required in zip(model.model.parameters(), requires, strict=True):
        parameter.requires_grad_(required)
    return start
