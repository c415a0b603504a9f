"""The chain: clean what was said, then route the question and read the mood; each step wears its own soft prompt."""

from __future__ import annotations

import gc
from collections.abc import Callable

from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnablePassthrough

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.demo.comparison import PLAIN
from langchain_softprompt.demo.tasks import CLEAN, MOOD, ROUTE, Row, Task

_SLIPS = (", no wait, ", " er I mean ", " no sorry ", ", no, ")

Ticket = Runnable[dict[str, str], dict[str, str]]


def soft_chain(llm: ChatSoftPrompt) -> Ticket:
    """Three steps, three soft prompts, one model."""
    return _chain(lambda task: PLAIN | llm.with_soft_prompt(task.soft_prompt) | StrOutputParser())


def hard_chain(llm: ChatSoftPrompt) -> Ticket:
    """The same three steps with their hard prompts alone."""
    return _chain(lambda task: task.template() | llm | StrOutputParser())


def spoken_questions(count: int) -> list[Row]:
    """Questions as people speak them: a held-out bank question, after the first words of another one.

    Args:
        count: How many.

    Returns:
        Rows whose text holds the slip and whose answer is the intent that was meant in the end.
    """
    rows = ROUTE.rows()
    spoken = []
    for number in range(count):
        meant, dropped = rows[number], rows[-1 - number]
        start = " ".join(dropped.text.split()[:4]).rstrip("?.,!")
        spoken.append(Row(f"{start}{_SLIPS[number % len(_SLIPS)]}{meant.text[:1].lower()}{meant.text[1:]}", meant.answer))
    return spoken


def frozen_models_in_memory() -> int:
    """How many language models this process holds, counted among all its objects."""
    from transformers import PreTrainedModel

    # By type(): isinstance would ask every object of the process for its __class__, and some answer with a warning.
    models = [thing for thing in gc.get_objects() if issubclass(type(thing), PreTrainedModel)]
    return sum(model.get_output_embeddings() is not None for model in models)


def _chain(step: Callable[[Task], Runnable[dict[str, str], str]]) -> Ticket:
    question = RunnablePassthrough.assign(text=step(CLEAN))
    return question | RunnablePassthrough.assign(intent=step(ROUTE), mood=step(MOOD))
