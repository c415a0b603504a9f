"""What a request says of the soft prompt it wears, and why it is refused."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_softprompt.vllm_plugin.salting import Salts

KEY = "soft_prompt"
LENGTH_KEY = "virtual_tokens"


@dataclass(frozen=True, slots=True)
class Worn:
    """A soft prompt as a request names it.

    Attributes:
        content_hash: Which one.
        length: Its virtual tokens: so many placeholders stand before the text.
        problem: Why the request can't be served; ``None`` where it can.
    """

    content_hash: str
    length: int
    problem: str | None = None


def transfer_params(content_hash: str, length: int) -> dict[str, Any]:
    """What the route hands to the connector, by way of vLLM's ``kv_transfer_params``."""
    return {KEY: content_hash, LENGTH_KEY: length}


def worn_by(
    params: Mapping[str, Any] | None, *, prompt_tokens: int, salt: str | None, salts: Salts, lengths: Mapping[str, int]
) -> Worn | None:
    """Read what a request says; ``None`` where it wears nothing.

    Args:
        params: Its ``kv_transfer_params``.
        prompt_tokens: Its prompt's tokens, the placeholders among them.
        salt: Its ``cache_salt``.
        salts: What it has to be, which only the route of this plug-in knows.
        lengths: The virtual tokens of the soft prompts that are served, by content hash.
    """
    if not params or KEY not in params:
        return None
    name, length = params[KEY], params.get(LENGTH_KEY)
    if not isinstance(name, str) or not isinstance(length, int) or isinstance(length, bool) or length < 1:
        return Worn(str(name)[:80], 1, "it names its soft prompt in another form than this plug-in's")
    problem = None
    if name not in lengths:
        problem = "its soft prompt is not served here"
    elif lengths[name] != length:
        problem = f"it says {length} virtual tokens of a soft prompt of {lengths[name]}"
    elif salt is None or not hmac.compare_digest(salt.encode(), salts.salt(name).encode()):
        problem = "it did not come by this plug-in's route, which alone knows its cache_salt"
    elif prompt_tokens <= length:
        problem = "no text stands after its soft prompt"
    return Worn(name, length, problem)


__all__ = ["KEY", "LENGTH_KEY", "Worn", "transfer_params", "worn_by"]
