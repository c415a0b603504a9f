"""Tools, with the ways people ask for them and what they answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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


FAILURES = (
    Answer("Error: not available", "I am sorry, that is not available right now.", {}),
    Answer("Error: the service did not answer in time.", "I am sorry, the service did not answer in time.", {}),
    Answer("Error: permission denied", "I am sorry, I am not allowed to do that.", {}),
    Answer("Error: nothing was found.", "I am sorry, nothing was found.", {}),
    Answer('{"error": "connection lost"}', "I am sorry, the connection was lost.", {}),
)
_VERBS = ("get", "fetch", "run", "do", "call", "use", "tool", "my", "the", "new")


@dataclass(frozen=True)
class MadeUpTool:
    """A tool that nobody has.

    Attributes:
        name: Its name.
        about: Its description.
        asks: Ways to ask for it, with a ``{place}`` for each argument.
        schema: The schema of each argument.
        draw: How its value is drawn.
        answers: What the tool may answer; places are filled in, ``{n}`` and ``{m}`` with numbers, others with names and the like.
        optional: Arguments that need not be given; those that are not in the way of asking are left out.
        kind: Its name before it was given another.
        drawn: By what function of ``values.py`` the value of an argument is drawn, where it is one of those.
    """

    name: str
    about: str
    asks: tuple[str, ...]
    schema: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    draw: Mapping[str, Drawn] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    optional: tuple[str, ...] = ()
    kind: str = ""
    drawn: Mapping[str, str] = field(default_factory=dict)

    def renamed(self, random: Random) -> MadeUpTool:
        """The same tool as another programmer would have named and described it; as it is where people say its name."""
        if any(word in ask for ask in self.asks for word in (self.name, "{tool}")):
            return self
        name = random.choice((self.name, self.name, f"{random.choice(_VERBS)}_{self.name}", f"{self.name}_tool"))
        if random.random() < 0.25:
            name = re.sub(r"_(\w)", lambda found: found[1].upper(), name)
        about = random.choice((self.about, self.about, self.about.rstrip("."), f"Use this tool to {self.about[0].lower()}{self.about[1:]}"))
        if self.schema and random.random() < 0.2:
            listed = "\n".join(f"    {name}: {name.replace('_', ' ')}" for name in self.schema)
            about = f"{about}\n\nArgs:\n{listed}"
        return replace(self, name=name, about=about)

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
        filled = _Rest({**{name: _spoken(value) for name, value in arguments.items()}, **_found(random)})
        result, words = chosen.sent.format_map(filled), chosen.words.format_map(filled)
        facts = {name: _fact(fact.format_map(filled)) for name, fact in chosen.facts.items()}
        return Answer(_sent(random, result, facts), words, facts)


class _Rest(dict[str, str]):
    """Places that were not filled."""

    def __missing__(self, key: str) -> str:
        return "it"


def _found(random: Random) -> dict[str, str]:
    """What may be in an answer, whatever was asked."""
    w, v = random.sample([values.word(random) for _ in range(8)], 2)
    drawn = {"w": w, "v": v, "who": values.person(random), "friend": values.first_name(random), "town": values.city(random)}
    drawn |= {"clock": values.time_of_day(random), "day_": values.day(random), "label": values.code(random)}
    return {**drawn, "n": str(random.randint(2, 400)), "m": str(random.randint(11, 23)), "one": str(random.randint(2, 9))}


def _sent(random: Random, result: str, facts: Mapping[str, Any]) -> str:
    """As it is, or in JSON, as tools send it."""
    if result.startswith(("{", "[")) or random.random() < 0.55:
        return result
    if facts and random.random() < 0.3:
        return json.dumps(facts, ensure_ascii=False)
    return json.dumps({random.choice(("result", "result", "output", "answer")): result}, ensure_ascii=False)


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
            kind=entry["name"],
            drawn={name: how["draw"] for name, how in entry["arguments"].items() if isinstance(how["draw"], str)},
        )
        for entry in entries
    )


TOOLS = _read()
WITHOUT_ARGUMENTS = tuple(tool for tool in TOOLS if not tool.schema)
WITH_ARGUMENTS = tuple(tool for tool in TOOLS if tool.schema)
