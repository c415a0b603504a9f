"""The demo's three steps: their soft prompts, their templates and their held-out rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from langchain_core.prompts import ChatPromptTemplate

from langchain_softprompt.errors import SoftPromptNotFoundError

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Row:
    """A held-out row: what goes in, and what should come out."""

    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Task:
    """One step of the demo's chain.

    Attributes:
        name: Name of its soft prompt.
        job: What it does, in a few words.
        max_tokens: Most tokens of an answer.
    """

    name: str
    job: str
    max_tokens: int

    @property
    def soft_prompt(self) -> Path:
        """Folder of its soft prompt."""
        return shipped(self.name)

    def template(self, kind: str = "") -> ChatPromptTemplate:
        """A prompt template: the hard prompt, or ``"five_shot"``: the same with five solved examples."""
        file = _HERE / "templates" / (f"{self.name}_{kind}.json" if kind else f"{self.name}.json")
        return ChatPromptTemplate.from_messages([(message["role"], message["template"]) for message in json.loads(file.read_text("utf-8"))])

    def rows(self, count: int | None = None) -> list[Row]:
        """Its held-out rows, the first `count` of them."""
        lines = (_HERE / "data" / f"{self.name}.jsonl").read_text("utf-8").splitlines()
        return [Row(**json.loads(line)) for line in lines[:count]]


CLEAN = Task("clean", "write down the question that was meant", 64)
ROUTE = Task("route", "route it to one of 77 intents", 24)
MOOD = Task("mood", "read the mood", 8)
TASKS = (CLEAN, ROUTE, MOOD)


def shipped(name: str) -> Path:
    """Folder of a soft prompt that comes with this package, for the embedded model.

    Args:
        name: ``"clean"`` (a disfluent question becomes the question that was meant), ``"route"`` (a bank customer's
            question becomes one of 77 intents), ``"mood"`` (a text becomes ``positive`` or ``negative``) or ``"tools"``
            (calls tools, tells what they answered, and keeps the texts of JSON short).

    Raises:
        SoftPromptNotFoundError: There is none of that name.
    """
    folder = _HERE / "soft_prompts" / name
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in folder.parent.iterdir()))
        msg = f"No soft prompt named {name!r} comes with this package. There are: {known}."
        raise SoftPromptNotFoundError(msg)
    return folder
