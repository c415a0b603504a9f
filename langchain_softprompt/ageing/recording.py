"""Probes written into a soft prompt that has none, or renewed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_softprompt.chats import in_first_form
from langchain_softprompt.data import fill
from langchain_softprompt.errors import ChatTemplateError, EvaluationError
from langchain_softprompt.evaluation import soft_prompt_arm
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.prefix import choose_probes, with_probes
from langchain_softprompt.printable import printable
from langchain_softprompt.soft_prompt import SoftPrompt

_PROBES = 3


def input_fields(soft_prompt: SoftPrompt) -> list[str]:
    """The fields of a row that its messages are filled with.

    Raises:
        EvaluationError: The manifest does not say which messages to send.
    """
    return list(soft_prompt_arm(soft_prompt).fields)


def record_again(
    model: FrozenModel, soft_prompt: SoftPrompt, rows: Sequence[Mapping[str, str]] | None = None, *, allow_other_model: bool = False
) -> SoftPrompt:
    """The same soft prompt with new probes: of rows, or of the messages of the probes it has.

    The messages become part of the manifest, so choose rows that everybody may read who gets the soft prompt.

    Args:
        model: The frozen model it was made for.
        soft_prompt: The soft prompt as it is stored.
        rows: Rows to fill its messages with; three short ones that differ are chosen.
        allow_other_model: Record on another model than the manifest names.

    Raises:
        EvaluationError: There are neither rows nor messages to read.
        ChatTemplateError: The model's chat template refuses the messages.
        SoftPromptError: The soft prompt does not compile.
    """
    manifest = soft_prompt.manifest
    if rows is None:
        probes = manifest.probes.probes if manifest is not None and manifest.probes is not None else []
        chats = [[dict(message) for message in probe.messages] for probe in probes if probe.messages]
        if not chats:
            msg = f"{printable(soft_prompt.source)} has no probes to renew. Give rows to choose some from: --record --data ROWS."
            raise EvaluationError(msg)
    else:
        inputs = soft_prompt_arm(soft_prompt).inputs
        chats = [fill(inputs, row) for row in rows]
    drop = soft_prompt.drop_default_system
    rendered = [_rendering_form(model, chat, drop_default_system=drop) for chat in chats]
    if rows is not None:
        rendered = [rendered[place] for place in choose_probes([ids for _, ids in rendered], count=_PROBES)]
        if not rendered:
            msg = "None of these rows is short enough for a probe. Give some of at most 1024 tokens."
            raise EvaluationError(msg)
    return with_probes(soft_prompt, model, [form for form, _ in rendered], allow_other_model=allow_other_model)


def _rendering_form(model: FrozenModel, chat: list[dict[str, Any]], *, drop_default_system: bool) -> tuple[list[dict[str, Any]], list[int]]:
    """The messages as the template takes them, as in service, and their tokens."""
    if model.tokenizer is None:
        msg = f"{model.name} was wrapped without a tokenizer, and rendering chats needs one."
        raise ChatTemplateError(msg)
    tokenizer = model.tokenizer

    def with_ids(form: list[dict[str, Any]], drop: bool) -> tuple[list[dict[str, Any]], list[int]]:  # noqa: FBT001 - `in_first_form` calls it
        return form, render_chat(tokenizer, form, drop_default_system=drop)

    return in_first_form(chat, with_ids, drop_default_system=drop_default_system)


__all__ = ["input_fields", "record_again"]
