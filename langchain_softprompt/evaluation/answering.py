"""Answers come from the engine: every question of every arm at once, so that they batch as requests in service do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from langchain_softprompt.data import Example
from langchain_softprompt.engine import Engine, Generation
from langchain_softprompt.errors import ChatTemplateError, EngineBusyError, EvaluationError, RequestError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.messages import TextStream
from langchain_softprompt.sampling import Constraint
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt


@dataclass(frozen=True, eq=False, slots=True)
class Question:
    """One request.

    Attributes:
        token_ids: The text.
        soft_prompt: What stands before it; ``None`` for the bare model.
        max_tokens: Most tokens of the answer.
        constraint: What the answer may be; ``None`` for anything.
    """

    token_ids: tuple[int, ...]
    soft_prompt: SoftPrompt | None
    max_tokens: int
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request.

    Attributes:
        text: The answer, as a chat model returns it.
        failure: Why there is none; empty where there is one.
        read_tokens: Virtual tokens and tokens of text before it.
        cached_tokens: How many of those were not read, as their keys and values were there already.
        written_tokens: Tokens of the answer.
        cut: Whether it was cut off at `max_tokens`.
    """

    text: str
    failure: str = ""
    read_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    cut: bool = False


def ask(
    engine: Engine, questions: Sequence[Question], *, allow_other_model: bool = False, on_answer: Callable[[], None] | None = None
) -> list[Answer]:
    """Put all questions to an engine, greedy decoding, and wait for the answers.

    A question that can't be served, because it is too long say, gets an answer that says why; the others go on.

    Args:
        engine: Who answers.
        questions: What is asked.
        allow_other_model: Take soft prompts that were made for another model.
        on_answer: Called as each answer comes in, in the order of the questions.

    Raises:
        SoftPromptError: A soft prompt can't be served on this model at all, or the engine was closed.
    """
    running: list[Generation | RequestError] = []
    waited = 0
    for question in questions:
        while True:
            try:
                running.append(_submit(engine, question, allow_other_model=allow_other_model))
                break
            except EngineBusyError:  # Its queue is full; room comes as the oldest are answered.
                waited = _wait_for_one(running, waited)
    answers = []
    for question, generation in zip(questions, running, strict=True):
        answers.append(_answer(engine.model, question, generation))
        if on_answer is not None:
            on_answer()
    return answers


def answer_rows(
    engine: Engine,
    soft_prompt: SoftPrompt | None,
    examples: Sequence[Example],
    *,
    max_tokens: int,
    constraint: Constraint | None = None,
    allow_other_model: bool = False,
    on_answer: Callable[[], None] | None = None,
) -> list[Answer]:
    """Let a soft prompt answer the texts of some examples, as it answers when it is served.

    Args:
        engine: Who answers.
        soft_prompt: The soft prompt; ``None`` for the bare model.
        examples: What is asked; their completions are not looked at.
        max_tokens: Most tokens of an answer.
        constraint: What answers may be, for instance `sampling.Choices`.
        allow_other_model: Take a soft prompt that was made for another model.
        on_answer: Called as each answer comes in.

    Raises:
        SoftPromptError: The soft prompt can't be served on this model at all, or the engine was closed.
    """
    questions = [Question(example.text, soft_prompt, max_tokens, constraint) for example in examples]
    return ask(engine, questions, allow_other_model=allow_other_model, on_answer=on_answer)


def _submit(engine: Engine, question: Question, *, allow_other_model: bool) -> Generation | RequestError:
    try:
        return engine.submit(
            question.token_ids,
            soft_prompt=question.soft_prompt,
            settings=GenerationSettings(max_new_tokens=question.max_tokens),
            allow_other_model=allow_other_model,
            constraint=question.constraint,
        )
    except RequestError as error:
        return error


def _wait_for_one(running: Sequence[Generation | RequestError], waited: int) -> int:
    """Wait for the oldest that is not done; what became of it is looked at later."""
    while waited < len(running):
        generation = running[waited]
        waited += 1
        if isinstance(generation, Generation) and not generation.done:
            with suppress(Exception):  # Raised again where the answer is read.
                generation.result()
            return waited
    msg = "The engine's queue is full of other requests. Evaluate on an engine of its own, or raise max_queue."
    raise EvaluationError(msg)


def _answer(model: FrozenModel, question: Question, generation: Generation | RequestError) -> Answer:
    virtual = question.soft_prompt.num_virtual_tokens if question.soft_prompt is not None else 0
    read = virtual + len(question.token_ids)
    if not isinstance(generation, Generation):
        return Answer("", failure=str(generation), read_tokens=read)
    try:
        result = generation.result()
    except RequestError as error:
        return Answer("", failure=str(error), read_tokens=read)
    if result.finish_reason == "cancelled":
        msg = "The engine was closed while the evaluation was under way."
        raise EvaluationError(msg)
    if model.tokenizer is None:
        msg = f"{model.name} was wrapped without a tokenizer, and answers are judged as text."
        raise ChatTemplateError(msg)
    stream = TextStream(model.tokenizer)
    text = stream.push(result.token_ids) + stream.finish()
    return Answer(text, "", read, result.cached_tokens, len(result.token_ids), cut=result.finish_reason == "length")


__all__ = ["Answer", "Question", "answer_rows", "ask"]
