"""The room where a soft prompt is looked into: what it is, what it does, and what of it does that.

Files:
    inspect.py      inspect_soft_prompt(): one look at everything
    inspection.py   Inspection: all that was found out, as plain values
    samples.py      the inputs it is watched on: rows, probes out of the manifest, or neutral texts
    answers.py      greedy answers through the engine
    identity.py     what it is, for which model, its size and compile time
    norms.py        its vectors' lengths beside those of real tokens
    drift.py        how far it has moved from what it started as
    ablation.py     what is lost without a virtual token, without the keys, without the values
    influence.py    how differently the model speaks with it on and off
    attention.py    where the model looks; not why
    description.py  what the model says of it, put to the test
    nearest.py      the nearest words; not an explanation
    report.py       the same as one HTML page
"""

from __future__ import annotations

from langchain_softprompt.inspection.ablation import Ablation, Change, PartAblation, TokenAblation
from langchain_softprompt.inspection.attention import Attention, LayerAttention
from langchain_softprompt.inspection.description import Control, Description, Restored, Statement
from langchain_softprompt.inspection.drift import Drift, LayerDrift, Move
from langchain_softprompt.inspection.identity import Identity
from langchain_softprompt.inspection.influence import Influence, InputInfluence, Likely
from langchain_softprompt.inspection.inspect import inspect_soft_prompt
from langchain_softprompt.inspection.inspection import SECTIONS, Inspection
from langchain_softprompt.inspection.nearest import Nearest, Neighbour
from langchain_softprompt.inspection.norms import EmbeddingNorms, LayerNorms, Norms

__all__ = [
    "SECTIONS",
    "Ablation",
    "Attention",
    "Change",
    "Control",
    "Description",
    "Drift",
    "EmbeddingNorms",
    "Identity",
    "Influence",
    "InputInfluence",
    "Inspection",
    "LayerAttention",
    "LayerDrift",
    "LayerNorms",
    "Likely",
    "Move",
    "Nearest",
    "Neighbour",
    "Norms",
    "PartAblation",
    "Restored",
    "Statement",
    "TokenAblation",
    "inspect_soft_prompt",
]
