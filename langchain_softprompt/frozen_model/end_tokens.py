"""The tokens that end an answer, by what a model's files say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def end_token_ids(generation_config: Any, config: Any, tokenizer: PreTrainedTokenizerBase | None) -> tuple[int, ...]:
    """Those of the generation settings, or else of the configuration, and then the tokenizer's own.

    Args:
        generation_config: The model's generation settings, if it has any.
        config: Its text configuration.
        tokenizer: Its tokenizer, if it has one.
    """
    configured = generation_config.eos_token_id if generation_config is not None else None
    if configured is None:
        configured = getattr(config, "eos_token_id", None)
    ids = [configured] if isinstance(configured, int) else list(configured or [])
    if tokenizer is not None and tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    return tuple(dict.fromkeys(int(token) for token in ids))


__all__ = ["end_token_ids"]
