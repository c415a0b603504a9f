"""Material: what is learned from, and how it is told in a manifest. Rows under a template, or whole chats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_softprompt.chats import told_in_chat
from langchain_softprompt.data import (
    Chat,
    Example,
    HardPrompt,
    chat_examples,
    digest_rows,
    fields_of,
    fill,
    instruction_ids,
    make_examples,
    row_marks,
    system_ids,
)
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.soft_prompt import TemplateMessage
from langchain_softprompt.tool_calls import find_format

Rows = Sequence[Mapping[str, str]]
Message = Mapping[str, Any]


class Told(Protocol):
    """What a manifest says of what was learned from."""

    @property
    def messages(self) -> Sequence[TemplateMessage]:
        """The whole hard prompt."""

    @property
    def inputs(self) -> Sequence[TemplateMessage]:
        """The messages of it that are sent with the soft prompt; none where chats are."""

    @property
    def target(self) -> str:
        """The field that holds the answer, if there is one."""

    @property
    def count(self) -> int:
        """How many rows or chats."""

    def digest(self) -> str:
        """SHA-256 over them."""

    def marks(self) -> list[str]:
        """A sample of them to know them again by."""

    def text(self, model: FrozenModel, number: int) -> list[Message] | None:
        """The messages of one of them up to its answer; ``None`` where plain messages can't say them."""


class Material(Told, Protocol):
    """What a run learns from."""

    def start_ids(self, model: FrozenModel) -> list[int]:
        """Tokens of the instructions that the soft prompt starts as."""

    def examples(self, model: FrozenModel, max_tokens: int, source: str) -> list[Example]:
        """What is learned."""

    def watched(self, model: FrozenModel, max_tokens: int) -> list[Example]:
        """What the best step is chosen on; none are none."""

    def validation_digest(self) -> str:
        """SHA-256 over these."""


@dataclass(frozen=True)
class ToldRows:
    """Rows that were put into messages.

    Attributes:
        messages: As for `Told`, as are the next two.
        inputs: The messages of it that are sent.
        target: The field of the answer, or none.
        rows: The rows.
    """

    messages: Sequence[TemplateMessage]
    inputs: Sequence[TemplateMessage]
    target: str
    rows: Rows

    @property
    def count(self) -> int:
        """As `Told.count`."""
        return len(self.rows)

    def digest(self) -> str:
        """As `Told.digest`."""
        return digest_rows(self.rows)

    def marks(self) -> list[str]:
        """As `Told.marks`."""
        fields = fields_of(self.inputs, "the template")
        return row_marks(self.rows, [*fields, self.target] if self.target else list(fields))

    def text(self, model: FrozenModel, number: int) -> list[Message] | None:
        """As `Told.text`."""
        _ = model
        return list(fill(self.inputs, self.rows[number]))


@dataclass(frozen=True)
class RowMaterial(ToldRows):
    """Rows to learn from under a hard prompt.

    Attributes:
        prompt: The hard prompt.
        validation: Rows to choose the best step on.
    """

    prompt: HardPrompt
    validation: Rows

    @classmethod
    def of(cls, prompt: HardPrompt, rows: Rows, validation: Rows, target: str) -> RowMaterial:
        """Put together."""
        return cls(prompt.messages, prompt.inputs, target, rows, prompt, validation)

    def start_ids(self, model: FrozenModel) -> list[int]:
        """As `Material.start_ids`."""
        return instruction_ids(model, self.prompt)

    def examples(self, model: FrozenModel, max_tokens: int, source: str) -> list[Example]:
        """As `Material.examples`."""
        return make_examples(model, self.prompt, self.rows, self.target, max_tokens=max_tokens, source=source or "training data")

    def watched(self, model: FrozenModel, max_tokens: int) -> list[Example]:
        """As `Material.watched`."""
        if not self.validation:
            return []
        return make_examples(model, self.prompt, self.validation, self.target, max_tokens=max_tokens, source="validation data")

    def validation_digest(self) -> str:
        """As `Material.validation_digest`."""
        return digest_rows(self.validation)


@dataclass(frozen=True)
class ChatMaterial:
    """Whole chats to learn from.

    Attributes:
        instructions: The system text that the soft prompt starts as.
        chats: What is learned.
        validation: Chats to choose the best step on.
    """

    instructions: str
    chats: Sequence[Chat]
    validation: Sequence[Chat]

    @property
    def messages(self) -> Sequence[TemplateMessage]:
        """As `Told.messages`."""
        escaped = self.instructions.replace("{", "{{").replace("}", "}}")
        return [TemplateMessage(role="system", template=escaped)]

    @property
    def inputs(self) -> Sequence[TemplateMessage]:
        """As `Told.inputs`."""
        return ()

    @property
    def target(self) -> str:
        """As `Told.target`."""
        return ""

    @property
    def count(self) -> int:
        """As `Told.count`."""
        return len(self.chats)

    def digest(self) -> str:
        """As `Told.digest`."""
        return _digest(self.chats)

    def marks(self) -> list[str]:
        """As `Told.marks`."""
        return row_marks([{"chat": _written(chat)} for chat in self.chats], ["chat"])

    def text(self, model: FrozenModel, number: int) -> list[Message] | None:
        """As `Told.text`."""
        if model.tokenizer is None:
            return None
        chat = self.chats[number]
        tool_format = find_format(None, model.tokenizer.chat_template)
        said, by_template = told_in_chat(model.tokenizer, chat.told[:-1], chat.use.tools, tool_format)
        plain = all(isinstance(value, str) for message in said for value in message.values())
        return list(said) if plain and not by_template else None

    def start_ids(self, model: FrozenModel) -> list[int]:
        """As `Material.start_ids`."""
        return system_ids(model, [{"role": "system", "content": self.instructions}])

    def examples(self, model: FrozenModel, max_tokens: int, source: str) -> list[Example]:
        """As `Material.examples`."""
        return chat_examples(model, self.chats, max_tokens=max_tokens, source=source or "training chats")

    def watched(self, model: FrozenModel, max_tokens: int) -> list[Example]:
        """As `Material.watched`."""
        return chat_examples(model, self.validation, max_tokens=max_tokens, source="validation chats") if self.validation else []

    def validation_digest(self) -> str:
        """As `Material.validation_digest`."""
        return _digest(self.validation)


def _written(chat: Chat) -> str:
    return json.dumps(chat.to_json(), sort_keys=True, ensure_ascii=False)


def _digest(chats: Sequence[Chat]) -> str:
    made = hashlib.sha256()
    for chat in chats:
        made.update(_written(chat).encode() + b"\n")
    return made.hexdigest()


__all__ = ["ChatMaterial", "Material", "RowMaterial", "Rows", "Told", "ToldRows"]
