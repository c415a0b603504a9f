"""Weights laid out for serving on a CPU: prepacked for oneDNN, or int8.

Files:
    packing.py      pack_linears: which linear layers become what
    prepacked.py    PrepackedWeight: the same numbers in oneDNN's own layout
    int8.py         Int8Weight: eight bits a weight, each row of the input on its own scale
    input_ranges.py how large the inputs of each layer get, for int8
    shared.py       SharedLinear: siblings that read the same input, multiplied at once
"""

from __future__ import annotations

from langchain_softprompt.weights.packing import Packing, pack_linears
from langchain_softprompt.weights.shared import joint_weight

__all__ = ["Packing", "joint_weight", "pack_linears"]
