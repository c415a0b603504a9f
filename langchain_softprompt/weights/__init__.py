"""Weights laid out for serving on a CPU: prepacked for oneDNN, or int8.

Files:
    packing.py      pack_linears: which linear layers become what
    prepacked.py    PrepackedWeight: the same numbers in oneDNN's own layout
    int8.py         Int8Weight: eight bits a weight, each row of the input on its own scale
    shared.py       SharedLinear: siblings that read the same input, multiplied at once
"""

from __future__ import annotations

from langchain_softprompt.weights.packing import Packing, pack_linears

__all__ = ["Packing", "pack_linears"]
