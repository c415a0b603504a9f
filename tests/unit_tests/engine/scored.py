"""What transformers itself says of given continuations: one plain forward over the ids of prompt and continuation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from langchain_softprompt.engine import ScoringResult
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt

# Share of the largest logit by which a log-probability may differ in float32.
TOLERANCE = 1e-5

Tokens = tuple[int, ...]
# One begins another, two are equal, some share a head, one is a single token, one is long.
LABELS: tuple[Tokens, ...] = ((11, 12, 5), (11, 12, 13, 14, 5), (11, 40, 5), (60,), (11, 40, 5), (70, 71, 72), (70, 71, *range(20, 40)))


@torch.inference_mode()
def plain_logits(model: FrozenModel, ids: Sequence[int], soft_prompt: SoftPrompt | None) -> torch.Tensor:
    """The logits after each token, ``[len(ids), vocab_size]``. Soft rows are embeds of the same pass; keys and values its past."""
    rows = soft_prompt.embedding_rows() if soft_prompt is not None else None
    text = torch.tensor([list(ids)])
    given: dict[str, Any] = {"input_ids": text, "use_cache": False}
    if rows is not None:
        given = {"inputs_embeds": torch.cat([rows[None], model.embed(text)], dim=1), "use_cache": False}
    elif soft_prompt is not None:
        prefix = compile_prefix(model, soft_prompt)
        seen = torch.ones(1, prefix.length + len(ids), dtype=torch.long)
        given = {"input_ids": text, "past_key_values": prefix.to_cache(model), "attention_mask": seen}
    return model.model(**given).logits[0, -len(ids) :].float()


def check_scores(
    result: ScoringResult, model: FrozenModel, ids: Sequence[int], labels: Sequence[Sequence[int]], soft_prompt: SoftPrompt | None = None
) -> None:
    """Each token of each label has the log-probability that the plain forward gives it."""
    assert len(result.log_probs) == len(labels)
    for label, found in zip(labels, result.log_probs, strict=True):
        logits = plain_logits(model, [*ids, *label], soft_prompt)[len(ids) - 1 : -1]
        expected = logits.log_softmax(dim=-1)[torch.arange(len(label)), list(label)]
        difference = (expected - torch.tensor(found)).abs().max().item()
        assert difference <= TOLERANCE * logits.abs().max().item(), (label, difference)
