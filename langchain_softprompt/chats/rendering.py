"""The whole chat as token ids, its tools and calls told however its template takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_softprompt.chats.forms import LostTextError, PlainMessage, in_first_form
from langchain_softprompt.chats.tool_use import ToolUse, told_in_chat
from langchain_softprompt.tool_calls import ToolFormat, find_format

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def render_plain(
    tokenizer: PreTrainedTokenizerBase,
    chat: Sequence[PlainMessage],
    *,
    drop_default_system: bool = False,
    use: ToolUse | None = None,
    tool_format: str | ToolFormat | None = None,
    add_generation_prompt: bool = True,
) -> list[int]:
    """Render plain messages to the token ids of a prompt.

    Some templates refuse two messages of one role in a row, some refuse a system message, some leave it out without a word, as
    Mistral's does where the last message is not the user's. There, neighbours of one role are merged, and then the system
    message is put at the head of the first user message.
    Tools, calls and their answers are given to templates that know them, and are put in words for those that do not.

    Args:
        tokenizer: The frozen model's tokenizer, with a chat template.
        chat: The messages, as chat templates read them.
        drop_default_system: As in `frozen_model.render_chat`.
        use: The tools that are offered.
        tool_format: How the model writes calls; ``None`` goes by the chat template.
        add_generation_prompt: Open the assistant's turn at the end.

    Raises:
        ChatTemplateError: The template refuses the messages in every one of these forms.
    """
    from langchain_softprompt.frozen_model import render_chat

    def render(form: list[PlainMessage], drop: bool) -> list[int]:  # noqa: FBT001 - `in_first_form` calls it
        ids = render_chat(tokenizer, form, drop_default_system=drop, tools=offered, add_generation_prompt=add_generation_prompt)
        if not _tells(tokenizer, ids, instructions):
            raise LostTextError(ids)
        return ids

    use = use or ToolUse()
    written = find_format(tool_format, getattr(tokenizer, "chat_template", None))
    told, by_template = told_in_chat(tokenizer, chat, use.tools, written)
    offered = use.offered if by_template else None
    instructions = [message["content"] for message in told if message["role"] == "system"]
    return in_first_form(told, render, drop_default_system=drop_default_system)


def _tells(tokenizer: PreTrainedTokenizerBase, ids: list[int], texts: Sequence[str]) -> bool:
    """Whether some texts are in what was rendered; templates may trim them."""
    if not texts:
        return True
    rendered = _without_blanks(str(tokenizer.decode(ids)))
    return all(_without_blanks(text) in rendered for text in texts)


def _without_blanks(text: str) -> str:
    return "".join(text.split())


__all__ = ["render_plain"]
