"""Answers as vLLM streams them, in the form of either route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_softprompt.sampling import TokenLogprob
    from tests.vllm.asked import Understood


def first(asked: Understood, model: str) -> list[dict[str, Any]]:
    """What comes before the first token: on the chat route who speaks, and what was read."""
    if not asked.is_chat:
        return []
    choice = {"index": 0, "delta": {"role": "user", "content": ""}, "logprobs": None, "finish_reason": None}
    return [{**_frame(asked, model), "choices": [choice], "prompt_token_ids": asked.prompt, "prompt_text": None}]


def token(
    asked: Understood, model: str, number: int, id_: int, text: str, logprob: TokenLogprob | None, reason: str | None
) -> dict[str, Any]:
    """One token."""
    logprobs = [logprob] if logprob is not None else []
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": reason, "stop_reason": None, "token_ids": [id_]}
    if asked.is_chat:
        choice["delta"] = {"content": text}
        if asked.settings.top_logprobs is not None:
            choice["logprobs"] = {"content": [_chat_logprob(id_, one) for one in logprobs]}
    else:
        choice["text"] = text
        choice["prompt_token_ids"] = asked.prompt if number == 0 else None
        if asked.settings.top_logprobs is not None:
            choice["logprobs"] = {
                "text_offset": [0],
                "token_logprobs": [max(one.logprob, -9999.0) for one in logprobs],
                "tokens": [f"token_id:{id_}"],
                "top_logprobs": [_tops(id_, one) for one in logprobs],
            }
    return {**_frame(asked, model), "choices": [choice]}


def usage(asked: Understood, model: str, count: int, cached: int) -> dict[str, Any]:
    """The last event."""
    read = len(asked.prompt)
    counts = {"prompt_tokens": read, "total_tokens": read + count, "completion_tokens": count}
    told = {**counts, "prompt_tokens_details": {"cached_tokens": cached}}
    return {**_frame(asked, model), "choices": [], "usage": told, "system_fingerprint": "vllm-0.32.0-10840b4e"}


def _frame(asked: Understood, model: str) -> dict[str, Any]:
    kind = "chat.completion.chunk" if asked.is_chat else "text_completion"
    return {"id": "cmpl-0", "object": kind, "created": 0, "model": model}


def _tops(id_: int, one: TokenLogprob) -> dict[str, float]:
    # The token itself stands first, then the likeliest, it being among them or not.
    return {f"token_id:{other}": max(logprob, -9999.0) for other, logprob in ((id_, one.logprob), *one.top)}


def _chat_logprob(id_: int, one: TokenLogprob) -> dict[str, Any]:
    tops = [{"token": name, "logprob": logprob, "bytes": []} for name, logprob in _tops(id_, one).items()]
    asked = tops[: max(1, len(one.top))] if one.top else []
    return {"token": f"token_id:{id_}", "logprob": max(one.logprob, -9999.0), "bytes": [], "top_logprobs": asked}
