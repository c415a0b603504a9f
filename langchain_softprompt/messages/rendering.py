"""LangChain messages as the token ids of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_softprompt.chats import ToolUse, render_plain, with_words
from langchain_softprompt.messages.converting import to_plain_messages
from langchain_softprompt.tool_calls import ToolFormat

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from transformers import PreTrainedTokenizerBase


def render_messages(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[BaseMessage],
    *,
    drop_default_system: bool = False,
    use: ToolUse | None = None,
    tool_format: str | ToolFormat | None = None,
    words: str | None = None,
) -> list[int]:
    """Render LangChain messages to the token ids of a prompt, the assistant's turn opened.

    Args:
        tokenizer: The frozen model's tokenizer, with a chat template.
        messages: The chat.
        drop_default_system: As in `frozen_model.render_chat`.
        use: The tools that are offered.
        tool_format: How the model writes calls; ``None`` goes by the chat template.
        words: Said at the end of the system message: a response format, for instance.

    Raises:
        ChatTemplateError: As `chats.render_plain`, or a message holds more than text.
    """
    plain = with_words(to_plain_messages(messages), words)
    return render_plain(tokenizer, plain, drop_default_system=drop_default_system, use=use, tool_format=tool_format)


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str, *, special_tokens: bool = False) -> list[int]:
    """The tokens of a text as it stands, without a chat template; optionally with those its tokenizer puts around any text."""
    from langchain_softprompt import frozen_model

    return frozen_model.encode_text(tokenizer, text, special_tokens=special_tokens)
