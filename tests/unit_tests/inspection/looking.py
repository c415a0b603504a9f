"""Models and soft prompts to look into, and what transformers alone finds in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache

from langchain_softprompt.data import Example, HardPrompt
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KVPrefix, TokenIds, compile_segments
from langchain_softprompt.soft_prompt import BaseModelRecord, Manifest, SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import PromptTuning
from tests.unit_tests.soft_prompt.peft_folders import save_with_peft, task_of

PROMPT = HardPrompt.from_pairs([("system", "Say where the animal lives."), ("human", "Animal: {text}")])
ROWS = [{"text": text, "label": label} for text, label in (("cow", "farm"), ("blue whale", "sea"), ("hen", "farm"), ("crab", "seaside"))]
EXAMPLES = [Example((5, 9, 40, 7), (12, 30)), Example((8, 3, 22, 60, 41, 11), (70,)), Example((2, 31), (9, 44, 18))]


def about(model: FrozenModel, **changes: object) -> Manifest:
    facts: dict[str, object] = {
        "base_model": BaseModelRecord(id=model.name, fingerprint=model.fingerprint),
        "method": "kv-prefix",
        "hard_prompt": list(PROMPT.messages),
        "input_messages": list(PROMPT.inputs),
        "drop_default_system": True,
        "training": {"target": "label", "init": "hard-prompt"},
        **changes,
    }
    return Manifest.model_validate(facts)


def of_key_values(tensor: Tensor, manifest: Manifest | None = None) -> SoftPrompt:
    """A soft prompt of ``[virtual tokens, layers, 2, heads, dim]``."""
    return replace(SoftPrompt.of_key_values(tensor), manifest=manifest)


def of_rows(rows: Tensor, manifest: Manifest | None = None) -> SoftPrompt:
    """A soft prompt of embeddings, ``[virtual tokens, hidden size]``."""
    config = PromptTuning(peft_type="PROMPT_TUNING", task_type="CAUSAL_LM", num_virtual_tokens=len(rows), token_dim=rows.shape[1])
    return SoftPrompt(config, {"prompt_embeddings": rows.clone()}, manifest=manifest)


def random_key_values(model: FrozenModel, count: int = 5, seed: int = 0, manifest: Manifest | None = None) -> SoftPrompt:
    heads, dim, _ = model.key_value_shapes[0]
    numbers = torch.Generator().manual_seed(seed)
    return of_key_values(2 * torch.randn(count, model.num_layers, 2, heads, dim, generator=numbers), manifest)


def random_rows(model: FrozenModel, count: int = 5, seed: int = 0, manifest: Manifest | None = None) -> SoftPrompt:
    numbers = torch.Generator().manual_seed(seed)
    return of_rows(torch.randn(count, model.hidden_size, generator=numbers), manifest)


def made_by_peft(folder: Path, kind: str, model: FrozenModel) -> SoftPrompt:
    return SoftPrompt.load(save_with_peft(folder, kind, model), task=task_of(kind))


def text_prefix(model: FrozenModel, ids: Sequence[int]) -> Tensor:
    """A text's own keys and values as a soft prompt has them."""
    layers = compile_segments(model, [TokenIds(ids)]).layers
    return torch.stack([torch.stack([keys.transpose(0, 1), values.transpose(0, 1)], dim=1) for keys, values in layers], dim=1).clone()


@torch.no_grad()
def logits_by_hand(model: FrozenModel, prefix: KVPrefix | None, example: Example, *, kept: Sequence[int] | None = None) -> Tensor:
    """Logits at each completion token, one row alone, by transformers; of the prefix only some columns are there at all."""
    length = prefix.length if prefix is not None else 0
    kept = list(range(length)) if kept is None else list(kept)
    cache = DynamicCache()
    if prefix is not None and kept:
        cache = DynamicCache([(keys[None, :, kept], values[None, :, kept]) for keys, values in prefix.layers])
    tokens = (*example.text, *example.completion)
    logits: Tensor = model.model(
        input_ids=torch.tensor([tokens]),
        attention_mask=torch.ones(1, len(kept) + len(tokens), dtype=torch.long),
        position_ids=torch.arange(length, length + len(tokens))[None],
        past_key_values=cache,
        use_cache=True,
    ).logits[0]
    return logits[len(example.text) - 1 : -1].double()


def loss_by_hand(logits: Tensor, example: Example) -> float:
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(example.completion)))
