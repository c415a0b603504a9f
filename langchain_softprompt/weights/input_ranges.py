"""input_ranges: how large each input of a model's linear layers gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOKENS = 512


@torch.inference_mode()
def input_ranges(model: PreTrainedModel) -> dict[nn.Module, Tensor]:
    """Let a model read random tokens and note the largest size of each input of each linear layer.

    Which inputs are the large ones is a property of the model far more than of the text, so random tokens do, and nothing
    has to be fetched.

    Returns:
        By layer, ``[in_features]``, float32.
    """
    seen: dict[nn.Module, Tensor] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].detach().reshape(-1, inputs[0].shape[-1])
        largest = rows.abs().amax(dim=0).float()
        seen[layer] = torch.maximum(seen[layer], largest) if layer in seen else largest

    hooks = [layer.register_forward_pre_hook(note) for layer in model.modules() if type(layer) is nn.Linear]
    try:
        embedding: Any = model.get_input_embeddings()
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or _TOKENS
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(0, embedding.weight.shape[0], (1, min(_TOKENS, longest)), generator=generator)
        model(input_ids=tokens.to(model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


__all__ = ["input_ranges"]
