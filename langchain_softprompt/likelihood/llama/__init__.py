"""Llama-shaped models, written out with their gradients: what training reads through.

The model is frozen, so no product keeps its input, and no row is padded: the tokens of all rows stand one after another
along one axis, each head of tokens that rows share only once. Only attention knows of rows.

Files:
    layout.py       Layout: the distinct positions of a batch, and blocks of rows in which they attend
    norm.py         FrozenNorm: RMS norm and its gradient
    rotation.py     Rotation: positions turned into queries and keys, and back
    attention.py    attend, and attend_back: over the prefix that all rows share and each row's own positions
    layer.py        FrozenLayer: one layer forward and back
    reader.py       LlamaReader: the whole model as one differentiable function of the prefix
    choosing.py     find_reader: which models are read so, found out by trying
"""

from __future__ import annotations

from langchain_softprompt.likelihood.llama.choosing import find_reader
from langchain_softprompt.likelihood.llama.reader import LlamaReader, Reading

__all__ = ["LlamaReader", "Reading", "find_reader"]
