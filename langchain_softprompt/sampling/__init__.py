"""The room of picking: logits become tokens, row by row, each row with its own settings, constraint and random stream.

Files:
    sampler.py      Sampler: picks the tokens of one request; pick_all for several at once
    filtering.py    penalty, temperature, top-k, top-p and min-p, in transformers' order and arithmetic
    constraint.py   Constraint: what an answer may be, token by token (the seam for choices and for grammars)
    logprobs.py     TokenLogprob: how likely the model found what was picked
    choices.py      Choices: one of several given answers
    grammar.py      Grammar: answers of a JSON schema, a regular expression, a grammar or choices (an extra)
"""

from __future__ import annotations

from langchain_softprompt.sampling.choices import Choices
from langchain_softprompt.sampling.constraint import Constraint, ConstraintState
from langchain_softprompt.sampling.filtering import filter_logits, keep_allowed, keep_min_p, keep_top_k, keep_top_p, penalise
from langchain_softprompt.sampling.grammar import Grammar
from langchain_softprompt.sampling.logprobs import TokenLogprob, token_logprobs
from langchain_softprompt.sampling.sampler import Sampler, pick_all

__all__ = [
    "Choices",
    "Constraint",
    "ConstraintState",
    "Grammar",
    "Sampler",
    "TokenLogprob",
    "filter_logits",
    "keep_allowed",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "penalise",
    "pick_all",
    "token_logprobs",
]
