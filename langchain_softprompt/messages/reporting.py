"""Usage and response metadata of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages.ai import InputTokenDetails, UsageMetadata

if TYPE_CHECKING:
    from langchain_softprompt.soft_prompt import SoftPrompt

PROVIDER = "softprompt"


def usage_metadata(*, prompt_tokens: int, virtual_tokens: int, cached_tokens: int, output_tokens: int) -> UsageMetadata:
    """Count an answer's tokens.

    Virtual tokens take positions of the model's context like any others, so they count as input; those whose keys and
    values were already there count as ``cache_read`` too.
    """
    input_tokens = prompt_tokens + virtual_tokens
    return UsageMetadata(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens,
        input_token_details=InputTokenDetails(cache_read=cached_tokens),
    )


def soft_prompt_facts(soft_prompt: SoftPrompt | None) -> dict[str, Any]:
    """What names a soft prompt in an answer's metadata; ``{"soft_prompt": None}`` says that the bare model answered."""
    if soft_prompt is None:
        return {"soft_prompt": None}
    facts = {
        "soft_prompt": soft_prompt.source,
        "soft_prompt_revision": soft_prompt.revision,
        "soft_prompt_hash": soft_prompt.content_hash,
        "soft_prompt_type": soft_prompt.kind,
        "num_virtual_tokens": soft_prompt.num_virtual_tokens,
    }
    return {name: value for name, value in facts.items() if value is not None}


def response_metadata(*, model_name: str, model_revision: str | None, finish_reason: str, soft_prompt: SoftPrompt | None) -> dict[str, Any]:
    """An answer's ``response_metadata``. Strings join when chunks are added, so it belongs on exactly one chunk."""
    metadata: dict[str, Any] = {"model_name": model_name, "model_provider": PROVIDER, "finish_reason": finish_reason}
    if model_revision is not None:
        metadata["model_revision"] = model_revision
    return {**metadata, **soft_prompt_facts(soft_prompt)}
