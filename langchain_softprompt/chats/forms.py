"""The forms in which a chat is put to its template: some refuse a system message, some two messages of one role in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from langchain_softprompt.errors import ChatTemplateError

PlainMessage = dict[str, Any]
_GAP = "\n\n"
Made = TypeVar("Made")


class LostTextError(ChatTemplateError, Generic[Made]):
    """What was made of a chat does not hold all of its instructions: some templates pass over a system message without a word.

    Attributes:
        made: What was made of it.
    """

    def __init__(self, made: Made) -> None:
        self.made = made
        super().__init__("The chat template leaves out the system message.")


def in_first_form(chat: list[PlainMessage], how: Callable[[list[PlainMessage], bool], Made], *, drop_default_system: bool) -> Made:
    """What is made of a chat in the first form that the chat template takes.

    Args:
        chat: The messages.
        how: Makes it of a form of the chat, and of whether to drop the template's default system message. Where it raises
            `LostTextError`, the next form is tried.
        drop_default_system: Whether to, where the chat has no system message of its own.

    Raises:
        ChatTemplateError: The template refuses every form; the error is that of the first.
    """
    # Folding the system message away must not make the template's own default one come back as if there were none.
    drop = drop_default_system and not any(message["role"] == "system" for message in chat)
    refusal: ChatTemplateError | None = None
    lacking: LostTextError[Made] | None = None
    for form in _forms(chat):
        try:
            return how(form, drop)
        except LostTextError as error:
            lacking = lacking or error
        except ChatTemplateError as error:
            refusal = refusal or error
    if lacking is not None:  # in every form: then the template or the tokenizer writes it in another way, in small letters say
        return lacking.made
    raise refusal or ChatTemplateError("There are no messages to render. Send at least one.")


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


__all__ = ["LostTextError", "PlainMessage", "in_first_form"]
