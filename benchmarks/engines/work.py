"""The work: chats that come at once, each with one of several soft prompts, streamed to their end."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

from benchmarks.texts import Texts
from langchain_softprompt import ChatSoftPrompt
from langchain_softprompt.soft_prompt import SoftPrompt

TEXT_TOKENS = 60
NEW_TOKENS = 48


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of so many chats at once.

    Attributes:
        tokens_a_second: New tokens of all chats, over the time from the first request to the last token.
        first_token: Median seconds from a request to its first piece of text.
        tokens: New tokens altogether.
    """

    tokens_a_second: float
    first_token: float
    tokens: int


async def run(chat: ChatSoftPrompt, soft_prompts: list[SoftPrompt], texts: Texts, chats: int) -> Measured:
    """Put so many chats at once, each a new text, over all soft prompts in turn."""
    began = time.perf_counter()
    done = await asyncio.gather(
        *(_one(chat.with_soft_prompt(soft_prompts[number % len(soft_prompts)]), texts.fresh(TEXT_TOKENS)) for number in range(chats))
    )
    spent = time.perf_counter() - began
    tokens = sum(count for _, count in done)
    return Measured(tokens / spent, statistics.median(first for first, _ in done), tokens)


async def _one(chat: ChatSoftPrompt, text: str) -> tuple[float, int]:
    began, first, count = time.perf_counter(), None, 0
    async for piece in chat.astream(text):
        if piece.text and first is None:
            first = time.perf_counter() - began
        if piece.usage_metadata is not None:
            count = piece.usage_metadata["output_tokens"]
    return first if first is not None else time.perf_counter() - began, count
