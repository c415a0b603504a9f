"""Teacher: the frozen model with the whole of a long hard prompt, whose answers a short soft prompt is to give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_softprompt.data import Example, HardPrompt, fields_of, fill
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel, render_chat
from langchain_softprompt.likelihood import completion_logits
from langchain_softprompt.prefix import KVPrefix, TokenIds, compile_segments
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import TemplateMessage

LIKELIEST = 64
_ROWS_A_PASS = 16


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the teacher said to one text.

    Attributes:
        row: Number of the row it is about.
        text: Token ids the student reads after its soft prompt.
        whole: Token ids the teacher reads: the long prompt and the text.
        completion: What the teacher answers, with the end-of-turn token where it came to one.
    """

    row: int
    text: tuple[int, ...]
    whole: tuple[int, ...]
    completion: tuple[int, ...]

    @property
    def example(self) -> Example:
        """As the student learns it."""
        return Example(self.text, self.completion)


class Teacher:
    """The frozen model with a long hard prompt.

    Args:
        model: The frozen model.
        hard_prompt: Instructions, solved examples if there are any, and then the messages with ``{fields}``.
    """

    def __init__(self, model: FrozenModel, hard_prompt: HardPrompt) -> None:
        self._model = model
        self.head, self.tail = head_and_tail(hard_prompt)
        tokenizer = model.tokenizer
        if tokenizer is None:
            raise TrainingDataError(hard_prompt.name, None, "the frozen model has no tokenizer to render it with.")
        self._tokenizer = tokenizer
        self.head_ids = render_chat(tokenizer, fill(self.head, {}), add_generation_prompt=False)
        self._prefix: KVPrefix | None = None

    def texts(self, row: Mapping[str, str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the student and what the teacher read for a row."""
        tail = fill(self.tail, row)
        text = render_chat(self._tokenizer, tail, drop_default_system=True)
        return tuple(text), tuple(render_chat(self._tokenizer, [*fill(self.head, {}), *tail]))

    def teach(self, rows: Sequence[Mapping[str, str]], *, max_tokens: int, on_answer: Callable[[], None] | None = None) -> list[Lesson]:
        """Answer every row, greedy, through the engine; the long prompt is read once."""
        given = [self.texts(row) for row in rows]
        settings = GenerationSettings(max_new_tokens=max_tokens)
        lessons = []
        with Engine(self._model) as engine:
            running = [engine.submit(whole, settings=settings) for _, whole in given]
            for row, ((text, whole), generation) in enumerate(zip(given, running, strict=True)):
                result = generation.result()
                ended = self._model.eos_token_ids[:1] if result.finish_reason == "stop" else ()
                lessons.append(Lesson(row, text, whole, (*result.token_ids, *ended)))
                if on_answer:
                    on_answer()
        return [lesson for lesson in lessons if lesson.completion]

    @torch.no_grad()
    def distributions(self, lessons: Sequence[Lesson], on_rows: Callable[[int], None] | None = None) -> list[tuple[Tensor, Tensor]]:
        """The teacher's next-token distributions along its answers: for each its likeliest tokens and their log-probabilities.

        Each is ``[completion tokens, LIKELIEST]``.
        """
        head = len(self.head_ids)
        starts = all(list(lesson.whole[:head]) == self.head_ids for lesson in lessons) and self._model.reuses_prefix
        if starts and self._prefix is None:
            self._prefix = compile_segments(self._model, [TokenIds(self.head_ids)])
        found = []
        for at in range(0, len(lessons), _ROWS_A_PASS):
            part = lessons[at : at + _ROWS_A_PASS]
            batch = [Example(lesson.whole[head:] if starts else lesson.whole, lesson.completion) for lesson in part]
            logits = completion_logits(self._model, self._prefix if starts else None, batch).float()
            likeliest = logits.log_softmax(dim=-1).topk(min(LIKELIEST, logits.shape[-1]), dim=-1)
            sizes = [len(lesson.completion) for lesson in part]
            pairs = zip(likeliest.indices.cpu().split(sizes), likeliest.values.cpu().split(sizes), strict=True)
            found += [(tokens.to(torch.int32), log_probs.clone()) for tokens, log_probs in pairs]
            if on_rows:
                on_rows(len(part))
        return found


def head_and_tail(hard_prompt: HardPrompt) -> tuple[tuple[TemplateMessage, ...], tuple[TemplateMessage, ...]]:
    """What is the same for every row, and what comes after it, from the first message with a field on."""
    for count, message in enumerate(hard_prompt.messages):
        if fields_of([message], hard_prompt.name):
            return hard_prompt.messages[:count], hard_prompt.messages[count:]
    return hard_prompt.messages, ()


__all__ = ["LIKELIEST", "Lesson", "Teacher", "head_and_tail"]
