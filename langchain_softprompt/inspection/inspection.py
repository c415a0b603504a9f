"""Inspection: all that was found out about a soft prompt, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_softprompt.inspection.ablation import Ablation
from langchain_softprompt.inspection.attention import Attention
from langchain_softprompt.inspection.description import Description
from langchain_softprompt.inspection.drift import Drift
from langchain_softprompt.inspection.identity import Identity
from langchain_softprompt.inspection.influence import Influence
from langchain_softprompt.inspection.nearest import Nearest
from langchain_softprompt.inspection.norms import Norms
from langchain_softprompt.plain import plain

SECTIONS = ("identity", "norms", "drift", "ablation", "influence", "attention", "description", "nearest")


@dataclass(frozen=True)
class Inspection:
    """All that was found out about a soft prompt. A section that could not be made is ``None``, and `left_out` says why.

    Attributes:
        identity: What it is.
        norms: The lengths of its vectors beside those of real tokens.
        drift: How far it has moved from what it started as.
        ablation: What is lost without parts of it.
        influence: How differently the model speaks with it on and off.
        attention: Where the model looks.
        description: What the model says of it, put to the test.
        nearest: The nearest words: not an explanation.
        samples: What it was watched on, in words; empty for a quick inspection.
        left_out: Section to the reason why it is not there.
        notes: What else a reader should know.
        environment: Versions, dtype and device.
        seconds: How long it took.
    """

    identity: Identity
    norms: Norms | None = None
    drift: Drift | None = None
    ablation: Ablation | None = None
    influence: Influence | None = None
    attention: Attention | None = None
    description: Description | None = None
    nearest: Nearest | None = None
    samples: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, each section with its ``reading`` in plain words; what is not finite becomes ``None``."""
        facts = plain({one.name: getattr(self, one.name) for one in dataclasses.fields(self)}, _derived)
        return {name: value for name, value in facts.items() if value is not None}


def _derived(value: Any) -> Mapping[str, Any]:
    properties = (name for name, kind in vars(type(value)).items() if isinstance(kind, property))
    return {name: getattr(value, name) for name in properties if name != "best"}


__all__ = ["SECTIONS", "Inspection"]
