"""Code that a reader of the card can run as it stands. Whatever is put into it becomes a Python literal, and nothing else."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from langchain_softprompt.card.base_model import BaseModel
from langchain_softprompt.refs import SoftPromptRef
from langchain_softprompt.soft_prompt import SoftPrompt, TemplateMessage
from langchain_softprompt.soft_prompt.template_text import plain_fields

if TYPE_CHECKING:
    from jinja2 import Template

_ROLES = {"system": "system", "human": "user", "ai": "assistant"}
_YOUR_TEXT = "Your text here."
_MOST_TOKENS = 64
_SHORT = 300  # characters of an example; longer ones are better read in the manifest
_LONGEST_CHAT = 4000


@dataclass(frozen=True)
class Code:
    """The blocks of code of a card.

    Attributes:
        langchain: With LangChain.
        peft: With PEFT and transformers alone.
        example_is_recorded: Whether the text in them is one that its answers were recorded for.
    """

    langchain: str
    peft: str
    example_is_recorded: bool


def write_code(soft_prompt: SoftPrompt, ref: SoftPromptRef, base: BaseModel, *, max_tokens: int = _MOST_TOKENS) -> Code:
    """Write the code that uses a soft prompt.

    Args:
        soft_prompt: The soft prompt.
        ref: Its repository, with a revision where it is pinned.
        base: Its base model.
        max_tokens: Most tokens of an answer.
    """
    manifest = soft_prompt.manifest
    inputs = usable_inputs(soft_prompt)
    recorded = _recorded_example(soft_prompt, inputs)
    names = dict.fromkeys(field for message in inputs for field in plain_fields(message.template))
    example = recorded or dict.fromkeys(names, _YOUR_TEXT)
    chat = [(message.role, message.template.format_map(example)) for message in inputs] or [("human", _YOUR_TEXT)]
    short = sum(len(text) for _, text in chat) <= _LONGEST_CHAT
    facts: dict[str, Any] = {
        "has_manifest": manifest is not None,
        "task": soft_prompt.task,
        "max_tokens": max_tokens,
        "text": _YOUR_TEXT,
    }
    langchain = _template("langchain.py.j2").render(
        **facts,
        model=base.model,
        revision=None if base.is_embedded else base.revision,
        name=str(ref),
        chats=bool(inputs),
        example=example,
        messages=chat if short else [],
    )
    peft = _template("peft.py.j2").render(
        **facts,
        weights=base.weights,
        revision=base.weights_revision,
        gguf_file=base.gguf_file,
        short=short,
        repo=ref.repo_id,
        commit=ref.revision,
        chat=[{"role": _ROLES[role], "content": text} for role, text in (chat if short else [("human", _YOUR_TEXT)])],
        drop=soft_prompt.drop_default_system and all(role != "system" for role, _ in chat),
    )
    return Code(langchain.strip(), peft.strip(), recorded is not None)


def usable_inputs(soft_prompt: SoftPrompt) -> list[TemplateMessage]:
    """The messages that are sent with it; none where they are no templates of plain fields."""
    inputs = soft_prompt.manifest.input_messages if soft_prompt.manifest else []
    try:
        for message in inputs:
            plain_fields(message.template)
    except ValueError:
        return []
    return inputs


def _recorded_example(soft_prompt: SoftPrompt, inputs: Sequence[TemplateMessage]) -> dict[str, str] | None:
    """A text out of the probes, which are in the manifest for everybody to read; only where it is plain which part of it was filled in."""
    manifest = soft_prompt.manifest
    probes = manifest.probes.probes if manifest and manifest.probes else []
    parts = [part for message in inputs for part in string.Formatter().parse(message.template)]
    fields = [field for _, field, _, _ in parts if field is not None]
    if len(inputs) != 1 or len(fields) != 1:
        return None
    at = next(place for place, part in enumerate(parts) if part[1] is not None)
    before, after = ("".join(text for text, _, _, _ in half) for half in (parts[: at + 1], parts[at + 1 :]))
    for probe in probes:
        content = probe.messages[0].get("content", "") if len(probe.messages) == 1 else ""
        text = content.removeprefix(before).removesuffix(after)
        if 0 < len(text) <= _SHORT and content == before + text + after:
            return {fields[0]: text}
    return None


def literal(value: object) -> str:
    """A value as Python source, in double quotes where that takes no escapes."""
    if isinstance(value, str):
        plain = repr(value)
        return f'"{plain[1:-1]}"' if plain.startswith("'") and '"' not in plain else plain
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


@cache
def _template(name: str) -> Template:
    from jinja2 import Environment, StrictUndefined

    # A template of Python source, in which every value is a literal: escaping for HTML would spoil it.
    environment = Environment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=literal)  # noqa: S701
    return environment.from_string(resources.files("langchain_softprompt.card").joinpath(name).read_text(encoding="utf-8"))


__all__ = ["Code", "usable_inputs", "write_code"]
