"""Drift: how far training has moved a soft prompt from what it started as."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from langchain_softprompt.errors import InvalidSettingsError, SoftPromptError
from langchain_softprompt.evaluation import Arm, hard_prompt_of
from langchain_softprompt.evaluation.initialisation import initialisation_arm, saved_start
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KVPrefix, compile_prefix
from langchain_softprompt.soft_prompt import SoftPrompt


@dataclass(frozen=True, slots=True)
class Move:
    """How far some vectors have moved.

    Attributes:
        cosine: Of the angle between then and now; 1 is no turn at all.
        distance: Euclidean distance over the length then; 0 is no move at all.
    """

    cosine: float
    distance: float


@dataclass(frozen=True, slots=True)
class LayerDrift:
    """How far the keys and values of one layer have moved: one figure a virtual token, over all heads.

    Attributes:
        layer: Its number, from 0.
        keys: Of the keys.
        values: Of the values.
    """

    layer: int
    keys: tuple[Move, ...]
    values: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a soft prompt has moved from what it started as.

    Attributes:
        start: What it started as.
        rows: Of its rows of embeddings, one a virtual token; empty where either of the two holds keys and values.
        layers: Of the keys and values it compiles to; empty where the model does not start from these.
    """

    start: str
    rows: tuple[Move, ...]
    layers: tuple[LayerDrift, ...]

    @property
    def by_token(self) -> tuple[Move, ...]:
        """Medians over layers, keys and values (or the rows' own, where there are rows), one a virtual token."""
        if self.rows or not self.layers:
            return self.rows
        moves = zip(*(part for layer in self.layers for part in (layer.keys, layer.values)), strict=True)
        return tuple(_median(token) for token in moves)

    @property
    def keys(self) -> Move | None:
        """Median over layers and virtual tokens of the keys' moves."""
        return _median([move for layer in self.layers for move in layer.keys]) if self.layers else None

    @property
    def values(self) -> Move | None:
        """The same of the values."""
        return _median([move for layer in self.layers for move in layer.values]) if self.layers else None

    @property
    def reading(self) -> str:
        """The same in plain words."""
        tokens = self.by_token
        if not tokens:
            return "There is nothing to compare."
        if all(move.distance < 1e-3 for move in tokens):
            return f"It is what it started as: {self.start}."
        furthest = max(range(len(tokens)), key=lambda number: tokens[number].distance)
        told = f"Virtual token {furthest} has moved furthest, by {tokens[furthest].distance:.0%} of its length."
        if self.keys is not None and self.values is not None:
            told = (
                f"From {self.start}, its keys have moved by {self.keys.distance:.0%} of their length and its values by "
                f"{self.values.distance:.0%}, in the median. {told}"
            )
        else:
            told = f"From {self.start}, its rows have moved by {_median(self.rows).distance:.0%} of their length, in the median. {told}"
        return told


def find_start(
    model: FrozenModel, soft_prompt: SoftPrompt, given: SoftPrompt | None = None, *, allow_other_model: bool = False
) -> tuple[SoftPrompt, str] | str:
    """What a soft prompt started as: given, kept beside it by the training run, or computed again from its hard prompt.

    Args:
        model: The frozen model.
        soft_prompt: The soft prompt.
        given: What it started as, where the caller knows.
        allow_other_model: Whether the soft prompt may have been made for another model.

    Returns:
        The soft prompt it started as and what that is, or why nobody knows.

    Raises:
        InvalidSettingsError: What was given has another number of virtual tokens.
    """
    length = soft_prompt.num_virtual_tokens
    if given is not None:
        if given.num_virtual_tokens != length:
            msg = f"initial: expected {length} virtual tokens, as the soft prompt has, found {given.num_virtual_tokens} in {given.source}."
            raise InvalidSettingsError(msg)
        return given, given.source
    saved = saved_start(soft_prompt)
    if saved is not None and saved.num_virtual_tokens == length:
        return saved, "what its training run kept as its start"
    made_here = soft_prompt.manifest is not None and soft_prompt.manifest.base_model.fingerprint == model.fingerprint
    if soft_prompt.manifest is not None and not made_here and not allow_other_model:
        return "it was made for another model, on which its start can't be computed again"
    arm = Arm("", "soft prompt", (), soft_prompt=replace(soft_prompt, folder=None))
    try:
        found = initialisation_arm(model, arm, hard_prompt_of(soft_prompt))
    except SoftPromptError as error:
        return str(error)
    if isinstance(found, str) or found.soft_prompt is None:
        return str(found)
    return found.soft_prompt, f"the first {length} tokens of the hard prompt it was made with"


@torch.inference_mode()
def measure_drift(
    model: FrozenModel, soft_prompt: SoftPrompt, prefix: KVPrefix, start: SoftPrompt, told: str, *, allow_other_model: bool = False
) -> tuple[Drift, KVPrefix]:
    """Compare a soft prompt with what it started as.

    Args:
        model: The frozen model.
        soft_prompt: The soft prompt.
        prefix: The same, compiled.
        start: What it started as.
        told: What that is, in words.
        allow_other_model: Take a start that was made for another model.

    Returns:
        How far it has moved, and the compiled start.

    Raises:
        ModelMismatchError: The start does not fit the model.
    """
    then = compile_prefix(model, start, allow_other_model=allow_other_model)
    rows, start_rows = soft_prompt.embedding_rows(), start.embedding_rows()
    moved: tuple[Move, ...] = ()
    if rows is not None and start_rows is not None and rows.shape == start_rows.shape:
        moved = _moves(start_rows, rows)
    layers = tuple(
        LayerDrift(number, _moves(_flat(before[0]), _flat(after[0])), _moves(_flat(before[1]), _flat(after[1])))
        for number, (before, after) in enumerate(zip(then.layers, prefix.layers, strict=True))
    )
    return Drift(told, moved, layers), then


def _flat(tensor: Tensor) -> Tensor:
    """``[heads, length, dim]`` to ``[length, heads * dim]``."""
    return tensor.float().transpose(0, 1).flatten(1)


def _moves(then: Tensor, now: Tensor) -> tuple[Move, ...]:
    then, now = then.cpu().double(), now.cpu().double()
    cosines = torch.nn.functional.cosine_similarity(then, now, dim=1)
    distances = (now - then).norm(dim=1) / then.norm(dim=1).clamp_min(1e-12)
    return tuple(Move(cosine, distance) for cosine, distance in zip(cosines.tolist(), distances.tolist(), strict=True))


def _median(moves: tuple[Move, ...] | list[Move]) -> Move:
    return Move(statistics.median(move.cosine for move in moves), statistics.median(move.distance for move in moves))


__all__ = ["Drift", "LayerDrift", "Move", "find_start", "measure_drift"]
