"""The engine: token ids in, token ids out; one thread owns the model.

Files:
    engine.py       Engine: checks a request, then submit / stream / cancel / close
    request.py      Request: what the worker knows of one request
    generation.py   Generation: the caller's handle on one request; its result
    reading.py      Reader: prompts become rows, on top of what was read before
    memory.py       RowBudget: how many running requests fit the limits
    worker.py       Worker: the thread; schedule, prefill, decode, postprocess
    registry.py     one engine for the whole process per frozen model
"""

from __future__ import annotations

from langchain_softprompt.engine.engine import Engine, EngineLoad
from langchain_softprompt.engine.generation import FinishReason, Generation, GenerationResult, TokenStream
from langchain_softprompt.engine.registry import close_all, get_engine

__all__ = ["Engine", "EngineLoad", "FinishReason", "Generation", "GenerationResult", "TokenStream", "close_all", "get_engine"]
