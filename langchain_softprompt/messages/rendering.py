"""The whole chat as token ids, with second tries for chat templates that are strict about roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from langchain_softprompt.errors import ChatTemplateError
from langchain_softprompt.messages.converting import PlainMessage, to_plain_messages
from langchain_softprompt.messages.tool_use import ToolUse, told_in_chat
from langchain_softprompt.tool_calls import ToolFormat, find_format

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from transformers import PreTrainedTokenizerBase

_GAP = "\n\n"
Made = TypeVar("Made")


def render_messages(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[BaseMessage],
    *,
    drop_default_system: bool = False,
    use: ToolUse | None = None,
    tool_format: str | ToolFormat | None = None,
) -> list[int]:
    """Render LangChain messages to the token ids of a prompt, the assistant's turn opened.

    Some templates refuse two messages of one role in a row, some refuse a system message. Where the template refuses,
    neighbours of one role are merged, and then the system message is put at the head of the first user message.
    Tools, calls and their answers are given to templates that know them, and are put in words for those that do not.

    Args:
        tokenizer: The frozen model's tokenizer, with a chat template.
        messages: The chat.
        drop_default_system: As in `frozen_model.render_chat`.
        use: The tools that are offered.
        tool_format: How the model writes calls; ``None`` goes by the chat template.

    Raises:
        ChatTemplateError: The template refuses the messages in every one of these forms, or a message holds more
            than text.
    """
    from langchain_softprompt.frozen_model import render_chat

    def render(form: list[PlainMessage], drop: bool) -> list[int]:  # noqa: FBT001 - `in_first_form` calls it
        return render_chat(tokenizer, form, drop_default_system=drop, tools=offered)

    use = use or ToolUse()
    written = find_format(tool_format, getattr(tokenizer, "chat_template", None))
    chat, by_template = told_in_chat(tokenizer, to_plain_messages(messages), use.tools, written)
    offered = use.offered if by_template else None
    return in_first_form(chat, render, drop_default_system=drop_default_system)


def in_first_form(chat: list[PlainMessage], how: Callable[[list[PlainMessage], bool], Made], *, drop_default_system: bool) -> Made:
    """What is made of a chat in the first form that the chat template takes.

    Args:
        chat: The messages.
        how: Makes it of a form of the chat, and of whether to drop the template's default system message.
        drop_default_system: Whether to, where the chat has no system message of its own.

    Raises:
        ChatTemplateError: The template refuses every form; the error is that of the first.
    """
    # Folding the system message away must not make the template's own default one come back as if there were none.
    drop = drop_default_system and not any(message["role"] == "system" for message in chat)
    refusal: ChatTemplateError | None = None
    for form in _forms(chat):
        try:
            return how(form, drop)
        except ChatTemplateError as error:
            refusal = refusal or error
    raise refusal or ChatTemplateError("There are no messages to render. Send at least one.")


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str, *, special_tokens: bool = False) -> list[int]:
    """The tokens of a text as it stands, without a chat template; optionally with those its tokenizer puts around any text."""
    from langchain_softprompt import frozen_model

    return frozen_model.encode_text(tokenizer, text, special_tokens=special_tokens)


def _forms(chat: list[PlainMessage]) -> Iterator[list[PlainMessage]]:
    """The forms in which a chat is tried, the given one first."""
    yield chat
    merged = _merge_neighbours(chat)
    if merged != chat:
        yield merged
    folded = _merge_neighbours(_fold_system(chat))
    if folded != merged:
        yield folded


def _merge_neighbours(chat: list[PlainMessage]) -> list[PlainMessage]:
    merged: list[PlainMessage] = []
    for message in chat:
        last = merged[-1] if merged else None
        if last is not None and last["role"] == message["role"] and _is_plain_text(last) and _is_plain_text(message):
            merged[-1] = {**last, "content": last["content"] + _GAP + message["content"]}
        else:
            merged.append(message)
    return merged


def _is_plain_text(message: PlainMessage) -> bool:
    return set(message) == {"role", "content"} and message["role"] in {"system", "user", "assistant"}


def _fold_system(chat: list[PlainMessage]) -> list[PlainMessage]:
    instructions = _GAP.join(message["content"] for message in chat if message["role"] == "system")
    rest = [message for message in chat if message["role"] != "system"]
    if not instructions:
        return chat
    if rest and rest[0]["role"] == "user":
        return [{**rest[0], "content": instructions + _GAP + rest[0]["content"]}, *rest[1:]]
    return [{"role": "user", "content": instructions}, *rest]
