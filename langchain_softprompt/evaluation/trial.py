"""Trial: all arms answer all rows, through one engine; then the model is asked how likely it found the wanted answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from langchain_softprompt.data import Example
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import TrainingDataError
from langchain_softprompt.evaluation.answering import Answer, Question, ask
from langchain_softprompt.evaluation.arms import Arm
from langchain_softprompt.evaluation.metrics import Judged
from langchain_softprompt.evaluation.options import EvaluationOptions
from langchain_softprompt.evaluation.reading import read_wanted
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.likelihood import CompletionScore
from langchain_softprompt.sampling import Choices
from langchain_softprompt.settings import EngineLimits

Rows = Sequence[Mapping[str, str]]
OnProgress = Callable[[str, int, int], None]

_SPARE_TOKENS = 8
_ROWS = "evaluation rows"


@dataclass(frozen=True, eq=False, slots=True)
class Sitting:
    """One arm on some rows.

    Attributes:
        arm: The arm.
        rows: The rows.
        examples: The rows as it reads them.
        answers: Its answers, by how they were decoded.
        likelihoods: What it thinks of the wanted answers.
        max_tokens: Most tokens a free answer could have.
    """

    arm: Arm
    rows: Rows
    examples: Sequence[Example]
    answers: Mapping[str, Sequence[Answer]]
    likelihoods: Sequence[CompletionScore | None]
    max_tokens: int

    def judged(self, mode: str, target: str) -> list[Judged]:
        """Each row with the answer that was decoded in a mode."""
        answers = self.answers.get(mode) or [Answer("")] * len(self.rows)
        return [
            Judged(row, row[target], answer.text, failed=bool(answer.failure), likelihood=likelihood)
            for row, answer, likelihood in zip(self.rows, answers, self.likelihoods, strict=True)
        ]


@dataclass(frozen=True, eq=False, slots=True)
class Trial:
    """What all arms have to answer.

    Attributes:
        model: The frozen model.
        target: The field that holds the wanted answer.
        modes: How answers are decoded, ``"choices"`` or ``"free"``, none, or both.
        labels: What there is to choose from.
        options: How the evaluation is made.
        on_progress: Told what is done, how much of it, and of how much.
    """

    model: FrozenModel
    target: str
    modes: tuple[str, ...]
    labels: tuple[str, ...]
    options: EvaluationOptions
    on_progress: OnProgress

    def run(self, seats: Sequence[tuple[Arm, Rows]]) -> list[Sitting]:
        """Let each arm answer its rows, all of them together.

        Raises:
            EvaluationError: An arm's folds don't hold each row once.
            TrainingDataError: A row lacks a field.
            SoftPromptError: A soft prompt can't be served on this model at all.
        """
        parts = [arm.parts(len(rows)) for arm, rows in seats]
        flat = [
            (part, [rows[number] for number in numbers]) for (_, rows), many in zip(seats, parts, strict=True) for part, numbers in many
        ]
        sat = iter(self._run(flat))
        return [_joined(arm, rows, [(next(sat), numbers) for _, numbers in many]) for (arm, rows), many in zip(seats, parts, strict=True)]

    def _run(self, seats: Sequence[tuple[Arm, Rows]]) -> list[Sitting]:
        examples = [[self._render(arm, rows, number) for number in range(len(rows))] for arm, rows in seats]
        longest = max(len(example.completion) for read in examples for example in read)
        max_tokens = self.options.max_tokens or longest + _SPARE_TOKENS
        asked: list[tuple[int, str]] = []
        questions: list[Question] = []
        for seat, (arm, rows) in enumerate(seats):
            for mode in self.modes:
                choices = self._choices(arm, rows[0]) if mode == "choices" else None
                most = max_tokens if choices is None else choices.longest
                questions += [Question(example.text, arm.soft_prompt, most, choices) for example in examples[seat]]
                asked += [(seat, mode)] * len(rows)
        answers = self._ask(questions)
        by_seat: list[dict[str, list[Answer]]] = [{mode: [] for mode in self.modes} for _ in seats]
        for (seat, mode), answer in zip(asked, answers, strict=True):
            by_seat[seat][mode].append(answer)
        likelihoods = self._read([(arm, read) for (arm, _), read in zip(seats, examples, strict=True)])
        parts = zip(seats, examples, by_seat, likelihoods, strict=True)
        return [Sitting(arm, rows, read, given, likely, max_tokens) for (arm, rows), read, given, likely in parts]

    def _render(self, arm: Arm, rows: Rows, number: int) -> Example:
        row = rows[number]
        for field in (*arm.fields, self.target):
            if not isinstance(row.get(field), str) or not row[field].strip():
                problem = f"row {number + 1}: field {field!r}: expected text that is not empty, found {row.get(field)!r}."
                raise TrainingDataError(_ROWS, None, problem)
        return arm.render(self.model, row, self.target)

    def _choices(self, arm: Arm, row: Mapping[str, str]) -> Choices:
        """The labels as the model would write them in an answer, without the token that ends it."""
        return Choices(arm.render(self.model, {**row, self.target: label}, self.target).completion[:-1] for label in self.labels)

    def _ask(self, questions: Sequence[Question]) -> list[Answer]:
        done = 0

        def on_answer() -> None:
            nonlocal done
            done += 1
            self.on_progress("answering", done, len(questions))

        limits = EngineLimits(max_rows=self.options.max_rows, max_queue=max(1, len(questions)))
        with Engine(self.model, limits) as engine:
            return ask(engine, questions, allow_other_model=self.options.allow_other_model, on_answer=on_answer)

    def _read(self, seats: Sequence[tuple[Arm, Sequence[Example]]]) -> list[list[CompletionScore | None]]:
        total, done = sum(len(examples) for _, examples in seats), 0

        def on_rows(count: int) -> None:
            nonlocal done
            done += count
            self.on_progress("reading", done, total)

        allow = self.options.allow_other_model
        return [read_wanted(self.model, arm.soft_prompt, examples, allow_other_model=allow, on_rows=on_rows) for arm, examples in seats]


def _joined(arm: Arm, rows: Rows, parts: Sequence[tuple[Sitting, Sequence[int]]]) -> Sitting:
    """What several answered between them, in the order of the rows."""
    order = sorted(
        ((number, sitting, place) for sitting, numbers in parts for place, number in enumerate(numbers)), key=lambda entry: entry[0]
    )
    first = parts[0][0]
    return Sitting(
        arm,
        rows,
        [sitting.examples[place] for _, sitting, place in order],
        {mode: [sitting.answers[mode][place] for _, sitting, place in order] for mode in first.answers},
        [sitting.likelihoods[place] for _, sitting, place in order],
        first.max_tokens,
    )


__all__ = ["OnProgress", "Rows", "Sitting", "Trial"]
