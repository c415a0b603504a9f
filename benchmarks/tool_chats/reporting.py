"""The shapes that a tool's answer is reported in."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from benchmarks.tool_chats.tools import Answer, MadeUpTool

_TITLES = ("Report", "Result", "Reply", "Finding", "Outcome", "Note")
ABOUT = ("What was found out.", "The answer for the user.", "A reply in a fixed shape.", "What there is to report.")
_TEXTS = ("answer", "summary", "text", "message", "sentence")
_KINDS: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}


def reported(random: Random, tool: MadeUpTool, arguments: Mapping[str, Any], answer: Answer) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema for what a tool was asked and what it answered, and the value that fits both."""
    value = {name: given for name, given in arguments.items() if type(given) in _KINDS and random.random() < 0.5}
    if answer.facts and random.random() < 0.7:
        value |= dict(random.sample(list(answer.facts.items()), random.randint(1, len(answer.facts))))
    else:
        value[random.choice(_TEXTS)] = answer.words
    if random.random() < 0.2:
        value[random.choice(("ok", "found", "success"))] = bool(answer.facts)
    fields = [{"type": _KINDS[type(given)], **_described(random, name)} for name, given in value.items()]
    title = random.choice(_TITLES)
    if random.random() < 0.6:
        title = f"{tool.name.title().replace('_', '')}{title}"
    schema = {"title": title, "description": random.choice(ABOUT), "type": "object", "properties": dict(zip(value, fields, strict=True))}
    return {**schema, "required": list(value)}, value


def _described(random: Random, name: str) -> dict[str, str]:
    described = {"title": name.replace("_", " ").title()} if random.random() < 0.5 else {}
    return {**described, "description": f"the {name.replace('_', ' ')}"} if random.random() < 0.3 else described
