"""What is refused before a request is queued, whoever answers it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Protocol

from langchain_softprompt.errors import ContextLengthError, RequestError
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt


class CheckedModel(Protocol):
    """What requests are checked against."""

    @property
    def name(self) -> str:
        """What the model is called."""
        ...

    @property
    def vocab_size(self) -> int:
        """How many tokens it knows."""
        ...

    @property
    def max_positions(self) -> int | None:
        """Context window in tokens."""
        ...


def check_types(soft_prompt: object, settings: object) -> None:
    """Refuse what is no soft prompt, or no settings.

    Raises:
        RequestError: It is of another type.
    """
    if soft_prompt is not None and not isinstance(soft_prompt, SoftPrompt):
        msg = f"soft_prompt: expected a SoftPrompt or None, found {type(soft_prompt).__name__}. Load it first: SoftPrompt.load(folder)."
        raise RequestError(msg)
    if not isinstance(settings, GenerationSettings):
        msg = f"settings: expected GenerationSettings, found {type(settings).__name__}."
        raise RequestError(msg)


def checked_ids(model: CheckedModel, token_ids: Sequence[int]) -> tuple[int, ...]:
    """Token ids that the model knows, at least one.

    Raises:
        RequestError: There are none, or they are others.
    """
    try:
        ids = tuple(operator.index(token) for token in token_ids)
    except TypeError as error:
        msg = f"Token ids must be integers: {error}. Pass a flat list of ids, as a tokenizer's encode() returns it."
        raise RequestError(msg) from error
    if not ids:
        msg = "The request has no tokens. Give at least one, for instance the model's beginning-of-sequence token."
        raise RequestError(msg)
    size = model.vocab_size
    if min(ids) < 0 or max(ids) >= size:
        unknown = next(token for token in ids if not 0 <= token < size)
        msg = f"{model.name} does not know token id {unknown}: its ids go from 0 to {size - 1}. Use this model's own tokenizer."
        raise RequestError(msg)
    return ids


def checked_continuations(model: CheckedModel, continuations: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """Continuations to score, at least one.

    Raises:
        RequestError: There are none, or one is nothing that the model can write.
    """
    given = list(continuations)
    if not given:
        msg = "There are no continuations to score. Give at least one, as token ids."
        raise RequestError(msg)
    checked = []
    for number, continuation in enumerate(given):
        try:
            checked.append(checked_ids(model, continuation))
        except (RequestError, TypeError) as error:
            msg = f"Continuation {number}: {error}"
            raise RequestError(msg) from error
    return checked


def check_length(model: CheckedModel, virtual_tokens: int, prompt_tokens: int, new_tokens: int, what: str = "new tokens") -> None:
    """Refuse what does not fit the model's context.

    Raises:
        ContextLengthError: It does not.
    """
    window = model.max_positions
    needed = virtual_tokens + prompt_tokens + new_tokens
    if window is None or needed <= window:
        return
    room = window - virtual_tokens - prompt_tokens
    advice = f"Lower max_new_tokens to {room}" if room > 0 and what == "new tokens" else "Shorten the text"
    msg = (
        f"{virtual_tokens} virtual tokens + {prompt_tokens} prompt tokens + {new_tokens} {what} = {needed}, "
        f"but the context of {model.name} holds {window}. {advice}."
    )
    raise ContextLengthError(msg)


__all__ = ["check_length", "check_types", "checked_continuations", "checked_ids"]
