"""A request through the model's chat template, alike in any release of transformers."""

from __future__ import annotations

from typing import Any

from benchmarks.workload import Request


def rendered(tokenizer: Any, request: Request) -> str:
    """The prompt's text."""
    text: str = tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
    return text


def token_ids(tokenizer: Any, request: Request) -> list[int]:
    """The prompt's token ids."""
    ids: list[int] = tokenizer(rendered(tokenizer, request), add_special_tokens=False)["input_ids"]
    return ids
