"""Labels become the token ids that the model would write them as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_softprompt.errors import ChatTemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def render_labels(tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], end_token_ids: Sequence[int]) -> list[tuple[int, ...]]:
    """The tokens of whole answers: each label's own, then the one that ends the assistant's turn.

    Args:
        tokenizer: The frozen model's tokenizer.
        labels: What the assistant may say; control tokens in it are plain text.
        end_token_ids: The tokens that end an answer; without any, labels stay open.
    """
    from langchain_softprompt.frozen_model import encode_text

    end = _end_of_turn(tokenizer, end_token_ids)
    return [(*encode_text(tokenizer, label, split_special_tokens=True), *end) for label in labels]


def _end_of_turn(tokenizer: PreTrainedTokenizerBase, end_token_ids: Sequence[int]) -> tuple[int, ...]:
    """The one that the chat template writes; a model may know several, of which it writes one."""
    from langchain_softprompt.frozen_model import render_chat

    if len(end_token_ids) > 1:
        answered = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]
        try:
            rendered = render_chat(tokenizer, answered, add_generation_prompt=False)
        except ChatTemplateError:
            rendered = []
        written = next((token for token in reversed(rendered) if token in end_token_ids), None)
        if written is not None:
            return (written,)
    return tuple(end_token_ids[:1])
