"""Weights laid out for serving on a CPU: prepacked for oneDNN, sixteen bits for CPUs that can't compute in them, or int8.

Files:
    weight.py       Weight: what multiplies; PlainWeight, as the model's own layers do
    packing.py      pack_linears: which linear layers become what
    prepacked.py    PrepackedWeight: the same numbers in oneDNN's own layout
    half.py         HalfWeight: sixteen bits a weight, multiplied in float32
    int8.py         Int8Weight: eight bits a weight, each row of the input on its own scale
    input_ranges.py how large the inputs of each layer get, for int8
    release.py      let_go_of_files: give back what packing has made needless
    shared.py       SharedLinear: siblings that read the same input, multiplied at once
"""

from __future__ import annotations

from langchain_softprompt.weights.packing import Packing, pack_linears
from langchain_softprompt.weights.shared import joint_weight
from langchain_softprompt.weights.weight import Weight

__all__ = ["Packing", "Weight", "joint_weight", "pack_linears"]
