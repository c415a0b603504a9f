"""Llama-shaped models, written out for serving: the same sums as transformers', in fewer and larger operations.

Files:
    layers.py       LlamaLayer: one layer's weights, read off a transformers model; which models have this shape
    norm.py         RmsNorm
    attention.py    each row attends to what it has read: one step of many rows, or the parts of several prompts
    forward.py      LlamaForward: one pass of the model
"""

from __future__ import annotations

from langchain_softprompt.frozen_model.llama.forward import LlamaForward

__all__ = ["LlamaForward"]
