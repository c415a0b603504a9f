"""Asked: one request, however it travels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt

# Bare requests that begin alike share what a server has cached of their beginning.
_HEAD_TOKENS = 64


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        token_ids: The text.
        settings: How to generate.
        stop_ids: Tokens that end the answer.
        soft_prompt: What stands before the text; ``None`` for the bare model.
        allow_other_model: Whether a soft prompt made for another model is taken.
        grammar: What the answer is held to, in llguidance's Lark; ``None`` for anything.
        only: The one token that may come, whose log-probability is wanted.
    """

    token_ids: tuple[int, ...]
    settings: GenerationSettings
    stop_ids: tuple[int, ...] = ()
    soft_prompt: SoftPrompt | None = None
    allow_other_model: bool = False
    grammar: str | None = None
    only: int | None = None

    @classmethod
    def next_token(
        cls,
        token_ids: tuple[int, ...],
        soft_prompt: SoftPrompt | None,
        *,
        allow_other_model: bool,
        only: int | None = None,
        top_logprobs: int = 0,
    ) -> Asked:
        """What would come next, or how likely a given token is to; tokens that end an answer are tokens like any other."""
        settings = GenerationSettings(max_new_tokens=1, top_logprobs=top_logprobs)
        return cls(token_ids, settings, soft_prompt=soft_prompt, allow_other_model=allow_other_model, only=only)

    @property
    def virtual_tokens(self) -> int:
        """Length of the soft prompt."""
        return self.soft_prompt.num_virtual_tokens if self.soft_prompt is not None else 0

    @cached_property
    def route(self) -> bytes:
        """What requests that share a server's cache have in common."""
        if self.soft_prompt is not None:
            return self.soft_prompt.content_hash.encode()
        return hashlib.sha256(repr(self.token_ids[:_HEAD_TOKENS]).encode()).digest()


__all__ = ["Asked"]
