"""The optimisation: batches of like length, loss on completions only, the best step on validation kept."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import get_cosine_schedule_with_warmup

from langchain_softprompt.data.examples import Example
from langchain_softprompt.errors import FrozenModelError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.likelihood import completion_logits, completion_targets
from langchain_softprompt.prefix import KVPrefix
from langchain_softprompt.settings import TrainingSettings

_BATCHES_A_POOL = 8


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a training step says of itself.

    Attributes:
        step: Steps done, from 1.
        steps: Steps planned.
        loss: Mean loss per completion token in this step's batch, natural log.
        validation_loss: The same over the validation rows, when they were looked at in this step.
        best: Whether that was the best so far.
        seconds: Time since the start.
        tokens: Text and completion tokens read since the start.
    """

    step: int
    steps: int
    loss: float
    validation_loss: float | None
    best: bool
    seconds: float
    tokens: int


@dataclass(slots=True)
class Outcome:
    """The best soft prompt of a run and the way there."""

    key_values: Tensor
    best_step: int
    initial_validation_loss: float
    validation_loss: float
    steps: int
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


class PrefixTraining:
    """Trains keys and values in front of a frozen model.

    Args:
        model: The frozen model; it must continue from a prefix.
        initial: Keys and values to start from, ``[virtual_tokens, num_layers, 2, kv_heads, head_dim]``.
        settings: How to train.
    """

    def __init__(self, model: FrozenModel, initial: Tensor, settings: TrainingSettings) -> None:
        self.model = model
        self.settings = settings
        self.key_values = torch.nn.Parameter(initial.detach().float().clone().to(model.device))

    def run(
        self, examples: Sequence[Example], validation: Sequence[Example], on_step: Callable[[StepReport], None] | None = None
    ) -> Outcome:
        """Train, and return the keys and values of the step with the lowest validation loss.

        An interrupt (Ctrl-C) ends the run early with what it has.

        Raises:
            FrozenModelError: The loss is not a number before any training.
        """
        settings = self.settings
        optimizer = torch.optim.AdamW([self.key_values], lr=settings.learning_rate, weight_decay=0.0)
        schedule = get_cosine_schedule_with_warmup(optimizer, int(settings.max_steps * settings.warmup_share), settings.max_steps)
        watched = list(validation)[: settings.validation_rows]
        first = self.validation_loss(watched)
        if not math.isfinite(first):
            dtype = str(self.model.dtype).removeprefix("torch.")
            msg = f"{self.model.name} gives a loss of {first} in {dtype} before any training. Load it with dtype='float32'."
            raise FrozenModelError(msg)
        outcome = Outcome(self._snapshot(), 0, first, first, 0)
        start, tokens = time.perf_counter(), 0
        batches = _batches(examples, settings.batch_size, random.Random(settings.seed))
        try:
            for step in range(1, settings.max_steps + 1):
                batch = next(batches)
                loss = self._loss(batch)
                loss.backward()
                torch.nn.utils.clip_grad_norm_([self.key_values], settings.clip_norm)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                tokens += sum(len(example) for example in batch)
                outcome.steps = step
                outcome.losses.append(loss.item())
                looked = self._look(step, watched, outcome)
                outcome.seconds = time.perf_counter() - start
                if on_step:
                    on_step(StepReport(step, settings.max_steps, loss.item(), looked, outcome.best_step == step, outcome.seconds, tokens))
        except KeyboardInterrupt:
            pass
        return outcome

    def _look(self, step: int, watched: Sequence[Example], outcome: Outcome) -> float | None:
        if step % self.settings.evaluate_every and step != self.settings.max_steps:
            return None
        loss = self.validation_loss(watched)
        if loss < outcome.validation_loss:
            outcome.key_values, outcome.best_step, outcome.validation_loss = self._snapshot(), step, loss
        return loss

    @torch.no_grad()
    def validation_loss(self, examples: Sequence[Example]) -> float:
        """Mean loss per completion token over `examples`, natural log."""
        total, count = 0.0, 0
        by_length = sorted(examples, key=len)
        for at in range(0, len(by_length), self.settings.batch_size):
            batch = by_length[at : at + self.settings.batch_size]
            tokens = sum(len(example.completion) for example in batch)
            total += self._loss(batch).item() * tokens
            count += tokens
        return total / max(count, 1)

    def _snapshot(self) -> Tensor:
        return self.key_values.detach().cpu().clone()

    def _loss(self, batch: Sequence[Example]) -> Tensor:
        """Cross-entropy over the completions, with the very prefix that serving starts from."""
        prefix = KVPrefix(self.key_values.shape[0], self._layers())
        logits = completion_logits(self.model, prefix, batch)
        return cross_entropy(logits.float(), completion_targets(self.model, batch))

    def _layers(self) -> tuple[tuple[Tensor, Tensor], ...]:
        by_layer = self.key_values.to(self.model.dtype).permute(1, 2, 3, 0, 4)
        return tuple((layer[0], layer[1]) for layer in by_layer)


def _batches(examples: Sequence[Example], size: int, order: random.Random) -> Iterator[list[Example]]:
    """Endless batches: each pass over the data is shuffled, and examples of like length travel together."""
    while True:
        shuffled = list(examples)
        order.shuffle(shuffled)
        for at in range(0, len(shuffled), size * _BATCHES_A_POOL):
            pool = sorted(shuffled[at : at + size * _BATCHES_A_POOL], key=len)
            batches = [pool[start : start + size] for start in range(0, len(pool), size)]
            order.shuffle(batches)
            yield from batches
