"""The probes' messages as today's chat template renders them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_softprompt.ageing.findings import TemplateChange, TemplateCheck
from langchain_softprompt.errors import ChatTemplateError, InvalidSoftPromptError
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.prefix import KVPrefix, run_probes
from langchain_softprompt.printable import printable
from langchain_softprompt.soft_prompt import ProbesRecord

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SHOWN_TOKENS = 8
_SHOWN_LETTERS = 60


def check_template(model: FrozenModel, prefix: KVPrefix | None, record: ProbesRecord, *, drop_default_system: bool) -> TemplateCheck:
    """Render the probes' messages and compare them with the token ids that were recorded.

    Args:
        model: The frozen model, with its tokenizer.
        prefix: The compiled soft prompt, to see what a change does to the answers; ``None`` where it does not compile.
        record: The probes.
        drop_default_system: As the soft prompt's chats are rendered.
    """
    if model.tokenizer is None:
        return TemplateCheck(0)
    changes, read = [], []
    compared = 0
    for number, probe in enumerate(record.probes, start=1):
        if not probe.messages:
            continue
        compared += 1
        try:
            rendered = render_chat(model.tokenizer, probe.messages, drop_default_system=drop_default_system)
        except ChatTemplateError as error:
            changes.append(TemplateChange(number, printable(error)))
            continue
        if rendered != probe.token_ids:
            changes.append(TemplateChange(number, _difference(model.tokenizer, probe.token_ids, rendered)))
            read.append(probe.model_copy(update={"token_ids": rendered}))
    effect = None
    if prefix is not None and read:
        try:
            effect = run_probes(model, prefix, record.model_copy(update={"probes": read}))
        except InvalidSoftPromptError:  # Today's rendering does not fit the model's context.
            effect = None
    return TemplateCheck(compared, tuple(changes), effect)


def _difference(tokenizer: PreTrainedTokenizerBase, then: Sequence[int], now: Sequence[int]) -> str:
    """The first tokens that differ, as text."""
    at = next((place for place, pair in enumerate(zip(then, now, strict=False)) if pair[0] != pair[1]), min(len(then), len(now)))
    here = f"from token {at + 1} on it read {_text(tokenizer, then[at:])}, now {_text(tokenizer, now[at:])}"
    return f"{len(then)} tokens then, {len(now)} now; {here}"


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    if not ids:
        return "nothing"
    known = [token for token in ids[:_SHOWN_TOKENS] if token < len(tokenizer)]
    return repr(printable(str(tokenizer.decode(known)), _SHOWN_LETTERS))


__all__ = ["check_template"]
