"""Request: what the worker knows of one request."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from langchain_softprompt.decode import Continuing, Prefill, Reading, TokenTree
from langchain_softprompt.engine.generation import Generation
from langchain_softprompt.engine.scoring import Scoring
from langchain_softprompt.prefix import KVPrefix, SoftName, soft_name
from langchain_softprompt.sampling import Constraint, Sampler
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt

_numbers = itertools.count()


@dataclass(eq=False, slots=True)
class Request:
    """One request, from submission to its end.

    Attributes:
        row: Its number in the row store.
        token_ids: The prompt.
        soft_prompt: The soft prompt, ``None`` for the bare frozen model.
        allow_other_model: Whether a soft prompt made for another model is taken.
        settings: How to generate.
        soft_name: What tells its soft prompt from others.
        stop_ids: Tokens that end the answer.
        handle: The caller's.
        constraint: What its answer may be; ``None`` for anything.
        tree: The continuations to score in place of an answer; ``None`` where an answer is wanted.
        spare: Positions that the continuations take beyond the prompt.
        rows: How many rows it takes, of its size each.
        sampler: Picks the tokens; made at prefill, so that waiting costs no memory.
        prefill: Its prompt while it is being read.
        continuing: Its continuations while they are being read.
        soft: Its compiled soft prompt, once there is one.
        last_token: The token picked last, which the next step reads.
    """

    token_ids: tuple[int, ...]
    soft_prompt: SoftPrompt | None
    allow_other_model: bool
    settings: GenerationSettings
    stop_ids: frozenset[int]
    handle: Generation | Scoring
    constraint: Constraint | None = None
    tree: TokenTree | None = None
    spare: int = 0
    rows: int = 1
    sampler: Sampler = field(init=False)
    prefill: Prefill | None = None
    continuing: Continuing | None = None
    soft: KVPrefix | None = None
    last_token: int = -1
    soft_name: SoftName = field(init=False)
    row: int = field(default_factory=lambda: next(_numbers))

    def __post_init__(self) -> None:
        self.soft_name = soft_name(self.soft_prompt, allow_other_model=self.allow_other_model)

    @property
    def generation(self) -> Generation:
        """The handle of a request for an answer."""
        if not isinstance(self.handle, Generation):
            msg = "This request is for scores, not for an answer."
            raise TypeError(msg)
        return self.handle

    @property
    def length(self) -> int:
        """Positions of its prompt."""
        return self.handle.virtual_tokens + len(self.token_ids)

    @property
    def size(self) -> int:
        """Positions it may come to."""
        return self.length + (self.settings.max_new_tokens if self.tree is None else self.spare)

    @property
    def reading(self) -> Reading | None:
        """What is being read of it; ``None`` before its first turn and once all is read."""
        return self.continuing or self.prefill

    @property
    def columns(self) -> int:
        """Columns held by what is being read of it."""
        return self.reading.columns if self.reading is not None else 0

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for it any more: cancelled, or its stream was dropped."""
        return self.handle.abandoned or self.handle.done


__all__ = ["Request"]
