"""HardPrompt: the prompt template a soft prompt starts from, and the baseline it is judged against."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from langchain_softprompt.errors import TrainingDataError
from langchain_softprompt.printable import printable
from langchain_softprompt.soft_prompt import TemplateMessage
from langchain_softprompt.soft_prompt.template_text import plain_fields

_ROLES = {"system": "system", "human": "user", "ai": "assistant"}
_SYNONYMS = {"user": "human", "assistant": "ai"}
_MESSAGES = TypeAdapter(list[TemplateMessage])


@dataclass(frozen=True)
class HardPrompt:
    """A chat prompt template: instructions that never change, then messages with ``{field}`` places.

    Attributes:
        messages: The whole template, as a LangChain f-string ``ChatPromptTemplate`` has it.
        name: Where it came from, for error messages.
    """

    messages: tuple[TemplateMessage, ...]
    name: str = "hard prompt"

    def __post_init__(self) -> None:
        if not self.instructions:
            raise TrainingDataError(
                self.name, None, "the first message must be a system message without {fields}: the soft prompt starts from it."
            )
        if not self.fields:
            raise TrainingDataError(self.name, None, "no message after the instructions has a {field}, so every row would read the same.")

    @classmethod
    def from_pairs(cls, pairs: Sequence[tuple[str, str]], name: str = "hard prompt") -> Self:
        """Build one from ``(role, template)`` pairs, as `ChatPromptTemplate.from_messages` takes them.

        Raises:
            TrainingDataError: A role is unknown, or the messages are no template to start from.
        """
        return cls(_messages([list(pair) for pair in pairs], name), name)

    @classmethod
    def from_file(cls, file: str | Path, *, input_field: str | None = None) -> Self:
        """Read a template file.

        Args:
            file: ``.json``: a list of ``{"role": "system" | "human" | "ai", "template": ...}``, or of what else
                ``ChatPromptTemplate.from_messages`` takes, as far as JSON holds it. Any other ending: the text of the
                system message, followed by the row's `input_field` as the human message.
            input_field: Field of the data, needed for a plain text file.

        Raises:
            TrainingDataError: The file can't be read or is no template.
        """
        path = Path(file)
        try:
            text = path.read_text(encoding="utf-8-sig")
            parsed = json.loads(text) if path.suffix == ".json" else None
        except (OSError, ValueError, RecursionError) as error:
            raise TrainingDataError(str(path), None, f"can't be read as a prompt template: {error}.") from error
        if path.suffix == ".json":
            if input_field is not None:
                raise TrainingDataError(str(path), None, f"names its fields itself: leave the input field {input_field!r} out.")
            return cls(_messages(parsed, str(path)), str(path))
        if not text.strip():
            raise TrainingDataError(str(path), None, "holds no instructions for the soft prompt to start from.")
        if input_field is None:
            raise TrainingDataError(str(path), None, "a text template holds the instructions only; name the data's input field as well.")
        plain = text.strip().replace("{", "{{").replace("}", "}}")
        return cls.from_pairs([("system", plain), ("human", f"{{{input_field}}}")], str(path))

    @cached_property
    def instructions(self) -> tuple[TemplateMessage, ...]:
        """The leading system messages without fields: what the soft prompt takes in."""
        for count, message in enumerate(self.messages):
            if message.role != "system" or _fields(message.template, self.name):
                return self.messages[:count]
        return self.messages

    @cached_property
    def inputs(self) -> tuple[TemplateMessage, ...]:
        """The messages that are sent together with the soft prompt."""
        return self.messages[len(self.instructions) :]

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields the template asks for, in order."""
        return fields_of(self.messages, self.name)

    def check_target(self, field: str) -> None:
        """Refuse a template that shows the model what it is to answer.

        Raises:
            TrainingDataError: It asks for the field.
        """
        if field in self.fields:
            raise TrainingDataError(self.name, None, f"shows the model the field {field!r}, which it is to answer with. Take it out of it.")


def read_text(file: str | Path) -> str:
    """A text file of instructions.

    Raises:
        TrainingDataError: It can't be read, or holds nothing.
    """
    try:
        text = Path(file).read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        raise TrainingDataError(str(file), None, f"can't be read as a text of instructions: {error}.") from error
    if Path(file).suffix == ".json":
        raise TrainingDataError(str(file), None, "chats are learned under a text of instructions; a template of rows needs a target.")
    if not text:
        raise TrainingDataError(str(file), None, "holds no instructions, and the soft prompt starts from them.")
    return text


def fields_of(messages: Sequence[TemplateMessage], name: str) -> tuple[str, ...]:
    """Names of the fields that messages ask for, in order.

    Args:
        messages: The messages.
        name: Where they came from, for error messages.

    Raises:
        TrainingDataError: One of them is no template of plain fields.
    """
    return tuple(dict.fromkeys(field for message in messages for field in _fields(message.template, name)))


def fill(messages: Sequence[TemplateMessage], row: Mapping[str, str]) -> list[dict[str, str]]:
    """Fill a row into messages, giving what a chat template renders."""
    return [{"role": _ROLES[message.role], "content": message.template.format_map(dict(row))} for message in messages]


def _messages(content: object, name: str) -> tuple[TemplateMessage, ...]:
    try:
        return tuple(_MESSAGES.validate_python(_in_our_words(content)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        problem = f"{place + ': ' if place else ''}{first['msg']}, found {printable(repr(first['input']), 100)}"
        raise TrainingDataError(name, None, f"is no list of messages with role and template: {problem}.") from error


def _in_our_words(content: object) -> object:
    """Messages as ``ChatPromptTemplate.from_messages`` takes them: as pairs too, roles by their other names, ``content``."""
    return [_one_in_our_words(message) for message in content] if isinstance(content, list) else content


def _one_in_our_words(message: object) -> object:
    if isinstance(message, list) and len(message) == 2:
        message = dict(zip(("role", "template"), message, strict=True))
    if not isinstance(message, dict):
        return message
    named = {"template" if name == "content" and "template" not in message else name: value for name, value in message.items()}
    role = named.get("role")
    return {**named, "role": _SYNONYMS.get(role, role)} if isinstance(role, str) else named


def _fields(template: str, name: str) -> list[str]:
    try:
        return plain_fields(template)
    except ValueError as error:
        raise TrainingDataError(name, None, str(error)) from error
