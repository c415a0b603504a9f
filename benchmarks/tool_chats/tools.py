"""Tools, with the ways people ask for them and what they answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benchmarks.tool_chats import values

Drawn = Callable[[Random], Any]


class Answer(NamedTuple):
    """What a tool answers.

    Attributes:
        sent: The text that it sends, bare or in a JSON object.
        words: The words for it.
        facts: What can be learned from it, number or text, by name; empty where it failed.
    """

    sent: str
    words: str
    facts: dict[str, Any]


FAILED = Answer("Error: not available", "I am sorry, that is not available right now.", {})


@dataclass(frozen=True)
class MadeUpTool:
    """A tool that nobody has.

    Attributes:
        name: Its name.
        about: Its description.
        asks: Ways to ask for it, with a ``{place}`` for each argument.
        schema: The schema of each argument.
        draw: How its value is drawn.
        answers: What the tool may answer; places are filled in, ``{n}`` and ``{m}`` with numbers.
        optional: Arguments that need not be given; those that are not in the way of asking are left out.
    """

    name: str
    about: str
    asks: tuple[str, ...]
    schema: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    draw: Mapping[str, Drawn] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    optional: tuple[str, ...] = ()

    def offered(self, random: Random) -> dict[str, Any]:
        """In OpenAI's form, with the remarks that schemas have here and there."""
        schema = {name: dict(about) for name, about in self.schema.items()}
        if random.random() < 0.3:
            schema = {name: {**about, "title": name.replace("_", " ").title()} for name, about in schema.items()}
        parameters: dict[str, Any] = {"type": "object", "properties": schema}
        required = [name for name in schema if name not in self.optional]
        if required:
            parameters["required"] = required
        if random.random() < 0.5:
            parameters = dict(sorted(parameters.items()))
        return {"type": "function", "function": {"name": self.name, "description": self.about, "parameters": parameters}}

    def asked(self, random: Random) -> tuple[str, dict[str, Any]]:
        """A way to ask for it, and the arguments that were asked for."""
        way = random.choice(self.asks)
        drawn = {name: draw(random) for name, draw in self.draw.items()}
        said = {name: _spoken(value) for name, value in drawn.items()}
        arguments = {name: value for name, value in drawn.items() if f"{{{name}}}" in way or name not in self.optional}
        return way.format(**said, tool=self.name), arguments

    def answered(self, random: Random, arguments: Mapping[str, Any]) -> Answer:
        """What it answers to these arguments."""
        chosen = random.choice(self.answers)
        filled = _Rest(
            {
                **{name: _spoken(value) for name, value in arguments.items()},
                "n": str(random.randint(2, 400)),
                "m": str(random.randint(11, 23)),
            }
        )
        result, words = chosen.sent.format_map(filled), chosen.words.format_map(filled)
        facts = {name: _fact(fact.format_map(filled)) for name, fact in chosen.facts.items()}
        return Answer(json.dumps({"result": result}, ensure_ascii=False) if random.random() < 0.4 else result, words, facts)


class _Rest(dict[str, str]):
    """Places that were not filled."""

    def __missing__(self, key: str) -> str:
        return "it"


def _spoken(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " and ".join(str(entry) for entry in value)
    return str(value)


def _fact(text: str) -> Any:
    """A number where it is one."""
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def _drawn(how: str | list[str]) -> Drawn:
    """By the name of a function of values.py, or one of a list."""
    if isinstance(how, str):
        draw: Drawn = getattr(values, how)
        return draw
    return lambda random: random.choice(how)


def _read() -> tuple[MadeUpTool, ...]:
    entries = json.loads((Path(__file__).parent / "tools.json").read_text("utf-8"))
    return tuple(
        MadeUpTool(
            name=entry["name"],
            about=entry["about"],
            asks=tuple(entry["asks"]),
            schema={name: argument["schema"] for name, argument in entry["arguments"].items()},
            draw={name: _drawn(argument["draw"]) for name, argument in entry["arguments"].items()},
            answers=tuple(Answer(answer["result"], answer["words"], answer["facts"]) for answer in entry["answers"]),
            optional=tuple(name for name, argument in entry["arguments"].items() if argument.get("optional")),
        )
        for entry in entries
    )


TOOLS = _read()
WITHOUT_ARGUMENTS = tuple(tool for tool in TOOLS if not tool.schema)
WITH_ARGUMENTS = tuple(tool for tool in TOOLS if tool.schema)
