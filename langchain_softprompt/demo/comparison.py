"""The same held-out rows through the hard prompt and through the soft prompt, on the same model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_core.prompts import ChatPromptTemplate

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.demo.tasks import Row, Task

PLAIN = ChatPromptTemplate.from_messages([("human", "{text}")])


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to ask.

    Attributes:
        name: What the demo calls it.
        answers: One answer a row.
        right: Whether each is what it should be, character for character (case and outer white space aside).
        seconds: Time for all rows, the model already in memory.
        input_tokens: Mean tokens read per row, virtual tokens included.
    """

    name: str
    answers: tuple[str, ...]
    right: tuple[bool, ...]
    seconds: float
    input_tokens: float

    @property
    def score(self) -> float:
        """Share of right answers."""
        return sum(self.right) / len(self.right)


def compare(llm: ChatSoftPrompt, task: Task, rows: Sequence[Row], progress: Callable[[str], None]) -> list[Arm]:
    """Ask every row three ways: the hard prompt, the hard prompt with five solved examples, the soft prompt."""
    short = llm.model_copy(update={"max_tokens": task.max_tokens})
    arms = []
    for name, template, model in (
        ("hard prompt", task.template(), short),
        ("hard prompt + 5 examples", task.template("five_shot"), short),
        ("soft prompt", PLAIN, short.with_soft_prompt(task.soft_prompt)),
    ):
        arms.append(_ask(name, template, model, rows))
        progress(f"{task.name}: {name}")
    return arms


def is_right(answer: str, wanted: str) -> bool:
    """Whether an answer is the wanted one, case and outer white space aside."""
    return answer.strip().lower() == wanted.strip().lower()


def _ask(name: str, template: ChatPromptTemplate, llm: ChatSoftPrompt, rows: Sequence[Row]) -> Arm:
    start = time.perf_counter()
    replies = (template | llm).batch([{"text": row.text} for row in rows])
    seconds = time.perf_counter() - start
    answers = tuple(reply.text.strip() for reply in replies)
    right = tuple(is_right(answer, row.answer) for answer, row in zip(answers, rows, strict=True))
    tokens = sum(reply.usage_metadata["input_tokens"] for reply in replies if reply.usage_metadata) / len(replies)
    return Arm(name, answers, right, seconds, tokens)
