"""The content block by which messages carry their soft prompt: ``{"type": "soft_prompt", "soft_prompt": "org/name@revision"}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, FunctionMessage, ToolMessage

from langchain_softprompt.errors import SoftPromptChoiceError

KIND = "soft_prompt"
_NOT_FROM_THE_CALLER = (AIMessage, ToolMessage, FunctionMessage)


def take_soft_prompt(messages: Sequence[BaseMessage], *, anywhere: bool = False) -> tuple[list[BaseMessage], dict[str, Any]]:
    """Take the soft prompt out of the messages that carry it.

    The block stands in the first message. It is a block by its type, never by its text, so that what a template puts
    into a text can't become one. A message that holds nothing else is left out.

    Args:
        messages: A chat; or, for counting, any part of one in any order.
        anywhere: Take it from whichever message carries it.

    Returns:
        The messages without the block, and ``{"soft_prompt": ...}`` as an argument of a call; an empty dictionary where
        no message carries a soft prompt.

    Raises:
        SoftPromptChoiceError: Two different blocks, a block outside of the first message or in what a model or a tool
            said, or one that is not well formed.
    """
    found = [(place, block) for place, message in enumerate(messages) for block in _blocks_of(message)]
    if not found:
        return list(messages), {}
    if not anywhere and (any(place > 0 for place, _ in found) or isinstance(messages[0], _NOT_FROM_THE_CALLER)):
        msg = (
            "A soft prompt is carried by the first message, which is a system or human message. "
            "Move the block of type 'soft_prompt' there, or take it out."
        )
        raise SoftPromptChoiceError(msg)
    choice, *others = [_choice(block) for _, block in found]
    if any(other != choice for other in others):
        msg = f"The messages carry two soft prompts, {str(choice)!r} and {str(others[0])!r}. Keep one of the blocks."
        raise SoftPromptChoiceError(msg)
    carriers = {place for place, _ in found}
    left = [_without_block(message) if place in carriers else message for place, message in enumerate(messages)]
    return [message for message in left if message is not None], {"soft_prompt": choice}


def _without_block(message: BaseMessage) -> BaseMessage | None:
    rest = [block for block in message.content if not _is_block(block)]
    return message.model_copy(update={"content": rest}) if rest else None


def _blocks_of(message: BaseMessage) -> list[Any]:
    return [block for block in message.content if _is_block(block)] if isinstance(message.content, list) else []


def _is_block(block: object) -> bool:
    return isinstance(block, Mapping) and block.get("type") == KIND


def _choice(block: Mapping[str, Any]) -> Any:
    if set(block) != {"type", KIND}:
        msg = (
            f"A block of type 'soft_prompt' has the keys 'type' and 'soft_prompt', not {', '.join(map(repr, block))}. "
            "Write {'type': 'soft_prompt', 'soft_prompt': 'org/name@revision'}."
        )
        raise SoftPromptChoiceError(msg)
    return block[KIND]
