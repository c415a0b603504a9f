"""This package's training as a contender: the very loop that `langchain-softprompt train` runs."""

from __future__ import annotations

import resource
import time
from typing import Any

import torch

from benchmarks.child import serve
from langchain_softprompt.data import HardPrompt, instruction_ids, make_examples
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import TrainingSettings
from langchain_softprompt.training.loop import TrainingLoop
from langchain_softprompt.training.objectives import Completions
from langchain_softprompt.training.starts import new_learner
from langchain_softprompt.training.state import TrainingState


class Ours:
    """Whole passes over some rows."""

    def prepare(self, model: str, template: str, rows: list[dict[str, str]], target: str, method: str, batch: int, threads: int) -> Any:
        """Load the model; the soft prompt starts as the hard prompt."""
        torch.set_num_threads(threads)
        frozen = FrozenModel.load(model, dtype="float32", device="cpu")
        prompt = HardPrompt.from_file(template)
        settings = TrainingSettings(method=method, max_steps=10**6, batch_size=batch, learning_rate=1e-3)
        objective = Completions(frozen, make_examples(frozen, prompt, rows, target, max_tokens=512, source="rows"))
        learner = new_learner(frozen, instruction_ids(frozen, prompt), settings)
        self._loop = TrainingLoop(frozen, learner, objective, [], settings, TrainingState(learning_rate=1e-3))
        self._steps = -(-len(rows) // batch)
        given = [[example.text, example.completion] for example in objective.examples]
        return {"virtual_tokens": learner.prefix().length, "rows": given}

    def learn(self) -> dict[str, float]:
        """One pass over the rows."""
        began = time.perf_counter()
        self._loop.run(until=self._loop.state.step + self._steps)
        seconds = time.perf_counter() - began
        return {
            "seconds": seconds,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "loss": self._loop.state.losses[-1],
        }


if __name__ == "__main__":
    serve(Ours())
