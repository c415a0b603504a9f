"""Records: what is written down about a soft prompt when it is done."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from langchain_softprompt import __version__
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import choose_probes, with_probes
from langchain_softprompt.soft_prompt import BaseModelRecord, DataRecord, Manifest, SoftPrompt
from langchain_softprompt.training.loop import Look
from langchain_softprompt.training.material import Told
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
        told: What was learned from, in the order of the run's examples.
        about: What no run can find out.
        method: How it was made.
        start_from: The soft prompt it started as, if it did.
        probes: Whether a few of the rows' texts are written down to notice drift by, and marks of rows to know them by.
        more: More facts of the training.
        scores: The scores by name of a soft prompt as it is stored, from the look at it and the one before the first step.
    """

    model: FrozenModel
    told: Told
    about: About
    method: str
    start_from: SoftPrompt | None = None
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
            hard_prompt=list(self.told.messages),
            input_messages=list(self.told.inputs),
            drop_default_system=True,
            training={**self._facts(run), **self.more},
            seeds=[run.settings.seed],
            data=DataRecord(
                digest=self.told.digest(),
                rows=self.told.count,
                validation_rows=min(len(run.validation), run.settings.validation_rows),
                source=self.about.source,
                licence=self.about.licence,
                marks=self.told.marks() if self.probes else [],
            ),
            scores=self.scores(soft_prompt, look, Look(*run.state.initial)) if run.validation else {},
            created=datetime.datetime.now(datetime.UTC).date().isoformat(),
            package_version=__version__,
        )
        return self._probed(SoftPrompt(soft_prompt.config, soft_prompt.tensors, manifest=manifest), run)

    def _probed(self, soft_prompt: SoftPrompt, run: Run) -> SoftPrompt:
        if not self.probes:
            return soft_prompt
        examples = run.objective.examples
        before = self.told.count - len(examples)  # A distillation holds the first of its rows out.
        texts = {number: self.told.text(self.model, before + number) for number in range(len(examples))}
        plain = [number for number, text in texts.items() if text is not None]
        chosen = choose_probes([examples[number].text for number in plain], [examples[number].completion for number in plain])
        return with_probes(soft_prompt, self.model, [texts[plain[place]] or [] for place in chosen])

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
            "target": self.told.target,
            "init": f"soft-prompt {self.start_from.content_hash}" if self.start_from is not None else run.settings.start,
        }


__all__ = ["About", "Fact", "Records"]
