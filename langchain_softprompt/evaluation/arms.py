"""Arm: one way to ask for the answers, a soft prompt or one of the baselines that keep it honest."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from langchain_softprompt.chats import in_first_form
from langchain_softprompt.data import Example, HardPrompt, example_of, fields_of, fill, is_classification
from langchain_softprompt.errors import EvaluationError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.soft_prompt import Manifest, SoftPrompt, TemplateMessage

ArmKind = Literal["soft prompt", "hard prompt", "few-shot", "initialisation"]
AnyRow = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to ask.

    Attributes:
        name: What it is called in scores and reports.
        kind: What it is.
        inputs: The messages that are filled with a row.
        head: Chat messages before them, the same for every row.
        soft_prompt: What stands before the chat; ``None`` for the bare model.
        examples: How many solved examples are in `head`.
        folds: Arms that share the rows between them, each with the numbers of its rows, from 0: the ones it has learned nothing
            from. Empty where one answers all.
        origin: Name of the soft prompt whose start or whose folds it is; empty for neither.

    Raises:
        TrainingDataError: The messages are no templates of plain fields.
    """

    name: str
    kind: ArmKind
    inputs: tuple[TemplateMessage, ...]
    head: tuple[dict[str, str], ...] = ()
    soft_prompt: SoftPrompt | None = field(default=None, repr=False)
    examples: int = 0
    folds: tuple[tuple[Arm, tuple[int, ...]], ...] = field(default=(), repr=False)
    origin: str = ""

    def __post_init__(self) -> None:
        _ = self.fields  # A stranger's manifest may not ask for more than to be filled in.

    def parts(self, rows: int) -> list[tuple[Arm, tuple[int, ...]]]:
        """Who answers which of so many rows.

        Raises:
            EvaluationError: The folds don't hold each row once.
        """
        if not self.folds:
            return [(self, tuple(range(rows)))]
        if sorted(number for _, numbers in self.folds for number in numbers) != list(range(rows)):
            msg = f"{self.name}: its folds must hold each of the {rows} rows once."
            raise EvaluationError(msg)
        return list(self.folds)

    def seen(self) -> Arm:
        """The folds in front of rows they were trained on: each answers those that the next one was not."""
        arms = [arm for arm, _ in self.folds]
        numbers = [part for _, part in self.folds]
        return replace(self, folds=tuple(zip(arms, [*numbers[1:], *numbers[:1]], strict=True)))

    @property
    def manifest(self) -> Manifest | None:
        """What its soft prompt says of itself, if there is one that does."""
        return self.soft_prompt.manifest if self.soft_prompt is not None else None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a row that it reads."""
        return fields_of(self.inputs, self.name)

    def render(self, model: FrozenModel, row: AnyRow, target: str) -> Example:
        """A row as it is read in service, and the wanted answer as the model would have to write it.

        Raises:
            ChatTemplateError: The model's chat template refuses the messages in every form.
        """
        chat = [dict(message) for message in (*self.head, *fill(self.inputs, row))]
        drop = self.soft_prompt is not None and self.soft_prompt.drop_default_system
        return in_first_form(chat, partial(_example, model, row[target]), drop_default_system=drop)


def _example(model: FrozenModel, answer: str, form: list[dict[str, Any]], drop: bool) -> Example:  # noqa: FBT001 - see `in_first_form`
    return example_of(model, form, answer, drop_default_system=drop)


def soft_prompt_arm(soft_prompt: SoftPrompt, *, prompt: HardPrompt | None = None, name: str | None = None) -> Arm:
    """A soft prompt, with the messages its manifest says to send with it.

    Args:
        soft_prompt: The soft prompt.
        prompt: A template whose messages after the instructions are sent instead.
        name: What to call it; by default its source.

    Raises:
        EvaluationError: Neither the manifest nor a template says what to send.
        TrainingDataError: What the manifest says to send is no template of plain fields.
    """
    inputs = prompt.inputs if prompt is not None else tuple(soft_prompt.manifest.input_messages) if soft_prompt.manifest else ()
    if not inputs:
        msg = f"{soft_prompt.source} does not say which messages to send with it. Give a template, as it was trained with."
        raise EvaluationError(msg)
    return Arm(name or soft_prompt.source, "soft prompt", inputs, soft_prompt=soft_prompt)


def folded_arm(folds: Sequence[tuple[SoftPrompt, Sequence[int]]], *, prompt: HardPrompt | None = None, name: str = "folds") -> Arm:
    """Soft prompts of a cross-validation as one arm: each row is answered by the one that was trained without it.

    Args:
        folds: Each soft prompt, with the numbers of the rows it was not trained on, from 0.
        prompt: As in `soft_prompt_arm`.
        name: What to call it.

    Raises:
        EvaluationError: There are no folds, or nothing says what to send.
    """
    if not folds:
        msg = "folds: expected at least one soft prompt with its rows, found none."
        raise EvaluationError(msg)
    parts = tuple((soft_prompt_arm(soft_prompt, prompt=prompt, name=name), tuple(numbers)) for soft_prompt, numbers in folds)
    return replace(parts[0][0], folds=parts)


def hard_prompt_of(soft_prompt: SoftPrompt) -> HardPrompt | None:
    """The hard prompt a soft prompt was made with; ``None`` where its manifest names none."""
    manifest = soft_prompt.manifest
    return HardPrompt(tuple(manifest.hard_prompt), soft_prompt.source) if manifest is not None and manifest.hard_prompt else None


def hard_prompt_arm(prompt: HardPrompt, *, name: str = "hard prompt") -> Arm:
    """The whole template as text, on the bare model."""
    return Arm(name, "hard prompt", prompt.inputs, tuple(fill(prompt.instructions, {})))


def few_shot_arm(
    prompt: HardPrompt,
    train_rows: Sequence[AnyRow],
    count: int,
    *,
    target: str,
    seed: int = 0,
    unseen: Sequence[AnyRow] = (),
    name: str | None = None,
) -> Arm:
    """The template as text with solved examples between its instructions and the row.

    Args:
        prompt: The template.
        train_rows: Rows to draw the examples from.
        count: How many.
        target: The field that holds the answer. Where the answers are labels, as many different labels as possible are drawn.
        seed: Decides which.
        unseen: Rows that must not be among them: those that are judged on.
        name: What to call it.

    Raises:
        EvaluationError: There are fewer rows than examples.
    """
    known = {_inputs(row, prompt.fields) for row in unseen}
    rows = [row for row in train_rows if _inputs(row, prompt.fields) not in known]
    if count < 1 or len(rows) < count:
        msg = f"few-shot: expected from 1 to {len(rows)} examples, the rows that are not judged on, found {count}."
        raise EvaluationError(msg)
    shots: list[dict[str, str]] = []
    for row in _draw(rows, count, target, seed):
        shots += [*fill(prompt.inputs, row), {"role": "assistant", "content": row[target]}]
    head = (*fill(prompt.instructions, {}), *shots)
    return Arm(name or f"hard prompt + {count} examples", "few-shot", prompt.inputs, head, examples=count)


def folded_few_shot_arm(
    prompt: HardPrompt, rows: Sequence[AnyRow], folds: Sequence[Sequence[int]], count: int, *, target: str, seed: int = 0
) -> Arm:
    """The few-shot baseline of a cross-validation: for each fold the examples are drawn from the rows outside it.

    Args:
        prompt: The template.
        rows: All rows.
        folds: For each fold the numbers of its rows, from 0.
        count: How many examples.
        target: As in `few_shot_arm`.
        seed: As in `few_shot_arm`.

    Raises:
        EvaluationError: Outside a fold there are fewer rows than examples.
    """
    parts = []
    for numbers in folds:
        inside = [rows[number] for number in numbers]
        parts.append((few_shot_arm(prompt, rows, count, target=target, seed=seed, unseen=inside), tuple(numbers)))
    return replace(parts[0][0], folds=tuple(parts))


def _draw(rows: Sequence[AnyRow], count: int, target: str, seed: int) -> list[AnyRow]:
    """Labels take turns where the answers are labels."""
    draw = random.Random(seed)
    order = draw.sample(list(rows), len(rows))
    if not is_classification([row[target] for row in rows]):
        return order[:count]
    turns: dict[str, int] = defaultdict(int)
    places = []
    for row in order:
        places.append(turns[row[target]])
        turns[row[target]] += 1
    chosen = sorted(range(len(order)), key=places.__getitem__)[:count]
    return [order[number] for number in draw.sample(chosen, count)]


def _inputs(row: AnyRow, fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(row[field] for field in fields)


__all__ = ["Arm", "ArmKind", "few_shot_arm", "folded_arm", "folded_few_shot_arm", "hard_prompt_arm", "hard_prompt_of", "soft_prompt_arm"]
