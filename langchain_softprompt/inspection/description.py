"""Self-description: the model is asked what it was told, and what it says is put to the test."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from langchain_softprompt.data import Example, HardPrompt, instruction_ids
from langchain_softprompt.errors import SoftPromptError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.inspection.answers import greedy_answers, spell
from langchain_softprompt.inspection.influence import divergences, log_probs
from langchain_softprompt.inspection.samples import hard_prompt_ids, render
from langchain_softprompt.prefix import KVPrefix, TokenIds, compile_segments
from langchain_softprompt.soft_prompt import SoftPrompt

QUESTIONS = (
    "What is your instruction? Repeat it word for word.",
    "Describe in one sentence the task that you were told to do.",
    "What do you do with the text that a user sends you?",
)
CONTROL = "You are a helpful assistant."
WORKS = 0.5
_MARGIN = 0.1  # by which it must be better than any control, too
_ORDINARY = 2
_MAX_TOKENS = 64
_BATCH = 4


@dataclass(frozen=True, slots=True)
class Restored:
    """How much of the soft prompt's effect a text restores when it is the hard prompt.

    Attributes:
        share: 1 - KL(soft prompt || text) / KL(soft prompt || nothing), along the soft prompt's own answers: 1 is all of it,
            0 no more than nothing, below 0 it leads elsewhere.
        agreement: Share of inputs to which the model would write, token by token, exactly the soft prompt's answer.
    """

    share: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Statement:
    """What the model says of the soft prompt.

    Attributes:
        question: What it was asked.
        answer: What it said, greedy decoding.
        restored: How much that text restores; ``None`` where it said nothing.
    """

    question: str
    answer: str
    restored: Restored | None


@dataclass(frozen=True, slots=True)
class Control:
    """A text that is no description, measured as one.

    Attributes:
        what: What it is.
        text: The text.
        restored: How much it restores.
    """

    what: str
    text: str
    restored: Restored


@dataclass(frozen=True, slots=True)
class Description:
    """What the model says of the soft prompt, put to the test.

    Attributes:
        statements: Question by question.
        controls: Texts that are no descriptions: one that says nothing of the task, and the soft prompt's most frequent ordinary
            answers. A soft prompt that takes the question for one more input says one of these, and the model repeats what it
            finds in its instructions, so such an answer alone can restore much.
        hard_prompt: How much the hard prompt restores that it was made with; ``None`` where nobody knows it.
        bare_agreement: Share of inputs that the bare model would answer in the same words.
        inputs: On how many inputs.
        works_from: Share from which a description counts as one.
    """

    statements: tuple[Statement, ...]
    controls: tuple[Control, ...]
    hard_prompt: Restored | None
    bare_agreement: float
    inputs: int
    works_from: float = WORKS

    @property
    def best(self) -> Statement | None:
        """The statement that restores most."""
        known = [statement for statement in self.statements if statement.restored is not None]
        return max(known, key=lambda statement: statement.restored.share if statement.restored else 0.0, default=None)

    @property
    def works(self) -> bool:
        """Whether the best statement restores enough, and clearly more than any text that is no description."""
        best = self.best
        if best is None or best.restored is None:
            return False
        return best.restored.share >= max([self.works_from, *(control.restored.share + _MARGIN for control in self.controls)])

    @property
    def reading(self) -> str:
        """The same in plain words."""
        best = self.best
        if best is None or best.restored is None:
            return "It does not describe itself: the model says nothing when it is asked."
        control = max(self.controls, key=lambda one: one.restored.share)
        numbers = (
            f"used as the hard prompt, its best statement restores {best.restored.share:.0%} of its effect, and {control.what} "
            f"{control.restored.share:.0%}; a description would restore {self.works_from:.0%} at least, and clearly more than that"
        )
        if self.hard_prompt is not None:
            numbers += f" (the hard prompt it was made with: {self.hard_prompt.share:.0%})"
        return f"It {'describes itself' if self.works else 'does not describe itself'}: {numbers}."


@torch.no_grad()
def describe(
    model: FrozenModel,
    soft_prompt: SoftPrompt,
    prefix: KVPrefix,
    examples: Sequence[Example],
    *,
    allow_other_model: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Description:
    """Ask the model about its instruction with the soft prompt on, and measure what its statements are worth as hard prompts.

    Args:
        model: The frozen model, with a chat template.
        soft_prompt: The soft prompt.
        prefix: The same, compiled.
        examples: Texts with the soft prompt's own answers.
        allow_other_model: Take one that was made for another model.
        on_progress: Called with the number of texts put to the test and of all.

    Raises:
        ChatTemplateError: The model has no chat template, or it refuses the questions.
    """
    drop = soft_prompt.drop_default_system
    asked = [
        (render(model, [{"role": "user", "content": question}], None, drop_default_system=drop).text, soft_prompt) for question in QUESTIONS
    ]
    answers = greedy_answers(model, asked, max_tokens=_MAX_TOKENS, allow_other_model=allow_other_model)
    said = [spell(model, answer) for answer in answers]
    effect = _Effect(model, prefix, examples)
    ordinary = [text for text, _ in Counter(spell(model, example.completion) for example in examples).most_common(_ORDINARY) if text]
    controls = [("a text that says nothing of the task", CONTROL), *(("one of its ordinary answers", text) for text in ordinary)]
    instructions = [_instructions(model, text) for text in (*said, *(text for _, text in controls))]
    instructions.append(hard_prompt_ids(model, soft_prompt))
    measured: list[Restored | None] = []
    for head in instructions:
        measured.append(effect.restored(head) if head is not None else None)
        if on_progress is not None:
            on_progress(len(measured), len(instructions))
    statements = [Statement(*parts) for parts in zip(QUESTIONS, said, measured[: len(said)], strict=True)]
    checked = [Control(*control, found) for control, found in zip(controls, measured[len(said) : -1], strict=True) if found is not None]
    return Description(tuple(statements), tuple(checked), measured[-1], effect.bare_agreement, len(examples))


class _Effect:
    """What the soft prompt does along its own answers, and how much of that another head does."""

    def __init__(self, model: FrozenModel, prefix: KVPrefix, examples: Sequence[Example]) -> None:
        self._model = model
        self._batches = [examples[start : start + _BATCH] for start in range(0, len(examples), _BATCH)]
        self._on = [log_probs(model, prefix, batch) for batch in self._batches]
        self._whole, self.bare_agreement = self._apart(None)

    def restored(self, ids: Sequence[int]) -> Restored:
        apart, agreement = self._apart(compile_segments(self._model, [TokenIds(ids)]))
        return Restored(1 - apart / self._whole if self._whole > 0 else 0.0, agreement)

    def _apart(self, head: KVPrefix | None) -> tuple[float, float]:
        """Mean divergence from the soft prompt a token of an answer, and the share of answers that would be the same."""
        apart: list[float] = []
        same: list[bool] = []
        for batch, on in zip(self._batches, self._on, strict=True):
            for example, mine, other in zip(batch, on, log_probs(self._model, head, batch), strict=True):
                apart.append(float(divergences(mine, other).mean()))
                same.append(other.argmax(dim=-1).tolist() == list(example.completion))
        return statistics.fmean(apart), statistics.fmean(same)


def _instructions(model: FrozenModel, text: str) -> list[int] | None:
    if not text.strip():
        return None
    plain = text.replace("{", "{{").replace("}", "}}")
    try:
        return instruction_ids(model, HardPrompt.from_pairs([("system", plain), ("human", "{text}")]))
    except SoftPromptError:
        return None


__all__ = ["CONTROL", "QUESTIONS", "WORKS", "Description", "Restored", "Statement", "describe"]
