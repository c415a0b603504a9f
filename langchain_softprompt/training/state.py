"""TrainingState: where a run stands, as one file that is there whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_safetensors
from torch import Tensor

from langchain_softprompt.errors import RunFolderError

_FACTS = "facts"


@dataclass(slots=True)
class TrainingState:
    """Where a run stands after a step.

    Attributes:
        learning_rate: Peak learning rate; 0 while it is still being looked for.
        tried: Validation loss of each learning rate tried so far, by the rate.
        step: Steps done.
        tokens: Text and completion tokens read.
        seconds: Time spent in steps and looks.
        initial: Validation loss and exact match before the first step.
        best_step: The best step so far; 0 is the start.
        best: Its validation loss and exact match.
        looks_since_best: Looks at the validation rows since then.
        losses: The loss of each step.
        finished: Why it ended; empty while it goes on.
        tensors: ``parameter.*`` and ``best.*`` by parameter name, ``moment.*`` and ``square.*`` of the optimiser.
    """

    learning_rate: float = 0.0
    tried: dict[str, float] = field(default_factory=dict)
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    initial: tuple[float, float] = (0.0, 0.0)
    best_step: int = 0
    best: tuple[float, float] = (0.0, 0.0)
    looks_since_best: int = 0
    losses: list[float] = field(default_factory=list)
    finished: str = ""
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write the state so that a reader, or a process that is killed now, finds the old one or the new one."""
        facts = _facts(self)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()} or {"none": torch.zeros(1)}
        write_whole(file, save_safetensors(tensors, metadata={_FACTS: json.dumps(facts)}))

    @classmethod
    def load(cls, file: Path) -> TrainingState:
        """Read a state.

        Raises:
            RunFolderError: It can't be read.
        """
        try:
            with safe_open(str(file), framework="pt") as opened:
                facts = json.loads((opened.metadata() or {})[_FACTS])
                tensors = {name: opened.get_tensor(name) for name in opened.keys() if name != "none"}  # noqa: SIM118
            known = {entry.name for entry in fields(cls)}
            state = cls(**{name: value for name, value in facts.items() if name in known}, tensors=tensors)
            state.initial, state.best = (state.initial[0], state.initial[1]), (state.best[0], state.best[1])
        except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
            msg = f"{file} can't be read as the state of a run: {error}. Start the run again in another folder."
            raise RunFolderError(msg) from error
        return state

    def part(self, kind: str) -> dict[str, Tensor]:
        """The tensors of one kind, by parameter name."""
        return {name.removeprefix(kind + "."): tensor for name, tensor in self.tensors.items() if name.startswith(kind + ".")}

    def same(self, kind: str, other: str) -> bool:
        """Whether the tensors of two kinds are equal."""
        theirs = self.part(other)
        return all(torch.equal(tensor, theirs[name]) for name, tensor in self.part(kind).items())

    def keep(self, kind: str, tensors: dict[str, Tensor]) -> None:
        """Copy tensors into the state under one kind."""
        self.tensors.update({f"{kind}.{name}": tensor.detach().cpu().clone() for name, tensor in tensors.items()})


def _facts(state: TrainingState) -> dict[str, object]:
    """Everything of a state that is no tensor."""
    return {entry.name: getattr(state, entry.name) for entry in fields(state) if entry.name != "tensors"}


def write_whole(file: Path, content: bytes) -> None:
    """Replace a file in one go, and make sure it is on the disk."""
    fresh = file.with_name(f".{file.name}.new")
    with fresh.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)


__all__ = ["TrainingState", "write_whole"]
