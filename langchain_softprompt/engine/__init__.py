"""The engine: token ids in, token ids out; one thread owns the model.

Files:
    engine.py       Engine: checks a request, then submit / stream / cancel / close
    checking.py     what is refused before a request is queued
    request.py      Request: what the worker knows of one request
    handle.py       Handle: what callers of all kinds of requests hold on to
    generation.py   Generation: the caller's handle on a request for an answer; its result
    scoring.py      Scoring: the caller's handle on a request to score given continuations; its result
    reading.py      Reader: prompts become rows, on top of what was read before
    memory.py       RowBudget: how many running requests fit the limits
    worker.py       Worker: the thread; schedule, prefill, decode, postprocess
    registry.py     one engine for the whole process per frozen model
"""

from __future__ import annotations

from langchain_softprompt.engine.engine import Engine, EngineLoad
from langchain_softprompt.engine.generation import Generation, GenerationResult, TokenStream
from langchain_softprompt.engine.handle import FinishReason
from langchain_softprompt.engine.registry import close_all, get_engine
from langchain_softprompt.engine.scoring import Scoring, ScoringResult

__all__ = [
    "Engine",
    "EngineLoad",
    "FinishReason",
    "Generation",
    "GenerationResult",
    "Scoring",
    "ScoringResult",
    "TokenStream",
    "close_all",
    "get_engine",
]
