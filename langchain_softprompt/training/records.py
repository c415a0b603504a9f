"""Records: what is written down about a soft prompt when it is done."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from langchain_softprompt import __version__
from langchain_softprompt.data import digest_rows, fields_of, fill, row_marks
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import choose_probes, with_probes
from langchain_softprompt.soft_prompt import BaseModelRecord, DataRecord, Manifest, SoftPrompt, TemplateMessage
from langchain_softprompt.training.loop import Look
from langchain_softprompt.training.runs import Run

Fact = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class About:
    """What a manifest says that no run can find out.

    Attributes:
        description: What the soft prompt does, in a sentence.
        source: Where the data came from.
        licence: The data's licence.
    """

    description: str = ""
    source: str = ""
    licence: str = ""


def validation_scores(_: SoftPrompt, look: Look, first: Look) -> dict[str, float]:
    """Loss and exact match on the validation rows, now and before the first step."""
    return {
        "validation_loss": look.loss,
        "validation_exact_match": look.exact_match,
        "initial_validation_loss": first.loss,
        "initial_validation_exact_match": first.exact_match,
    }


@dataclass(slots=True)
class Records:
    """What is written down about a soft prompt when it is done.

    Attributes:
        model: The frozen model.
        hard_prompt: The whole template.
        inputs: The messages of it that are sent with the soft prompt.
        rows: What was learned from, in the order of the run's examples.
        about: What no run can find out.
        method: How it was made.
        start_from: The soft prompt it started as, if it did.
        target: The field that holds the answer, if there is one.
        probes: Whether a few of the rows' texts are written down to notice drift by, and marks of rows to know them by.
        more: More facts of the training.
        scores: The scores by name of a soft prompt as it is stored, from the look at it and the one before the first step.
    """

    model: FrozenModel
    hard_prompt: Sequence[TemplateMessage]
    inputs: Sequence[TemplateMessage]
    rows: Sequence[Mapping[str, str]]
    about: About
    method: str
    start_from: SoftPrompt | None = None
    target: str = ""
    probes: bool = True
    more: Mapping[str, Fact] = field(default_factory=dict)
    scores: Callable[[SoftPrompt, Look, Look], dict[str, float]] = validation_scores

    def finish(self, soft_prompt: SoftPrompt, run: Run) -> SoftPrompt:
        """Give a soft prompt its manifest, with scores and probes of it as it is stored."""
        look = run.stored_look(soft_prompt)
        manifest = Manifest(
            description=self.about.description,
            base_model=BaseModelRecord(id=self.model.name, revision=self.model.revision, fingerprint=self.model.fingerprint),
            method=self.method,
            hard_prompt=list(self.hard_prompt),
            input_messages=list(self.inputs),
            drop_default_system=True,
            training={**self._facts(run), **self.more},
            seeds=[run.settings.seed],
            data=DataRecord(
                digest=digest_rows(self.rows),
                rows=len(self.rows),
                validation_rows=min(len(run.validation), run.settings.validation_rows),
                source=self.about.source,
                licence=self.about.licence,
                marks=row_marks(self.rows, self._fields) if self.probes else [],
            ),
            scores=self.scores(soft_prompt, look, Look(*run.state.initial)) if run.validation else {},
            created=datetime.datetime.now(datetime.UTC).date().isoformat(),
            package_version=__version__,
        )
        return self._probed(SoftPrompt(soft_prompt.config, soft_prompt.tensors, manifest=manifest), run)

    @property
    def _fields(self) -> list[str]:
        fields = fields_of(self.inputs, "the template")
        return [*fields, self.target] if self.target else list(fields)

    def _probed(self, soft_prompt: SoftPrompt, run: Run) -> SoftPrompt:
        if not self.probes:
            return soft_prompt
        examples = run.objective.examples
        chosen = choose_probes([example.text for example in examples], [example.completion for example in examples])
        rows = self.rows[-len(examples) :]  # A distillation holds the first of its rows out.
        return with_probes(soft_prompt, self.model, [fill(self.inputs, rows[number]) for number in chosen])

    def _facts(self, run: Run) -> dict[str, Fact]:
        state = run.state
        return {
            **asdict(run.settings),
            "learning_rate": state.learning_rate,
            "max_steps": run.settings.steps_for(len(run.objective.examples)),
            "best_step": state.best_step,
            "steps_done": state.step,
            "tokens": state.tokens,
            "seconds": round(state.seconds, 1),
            "target": self.target,
            "init": f"soft-prompt {self.start_from.content_hash}" if self.start_from is not None else run.settings.start,
        }


__all__ = ["About", "Fact", "Records"]
