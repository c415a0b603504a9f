"""Grammar: answers held to a JSON schema, a regular expression, a grammar or choices, by llguidance."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from langchain_softprompt.errors import InvalidGrammarError, RequestFailedError
from langchain_softprompt.grammars import GrammarSource
from langchain_softprompt.grammars.library import library
from langchain_softprompt.grammars.source import parser_limits

_MOST_KEPT = 64


class Grammar:
    """A `Constraint` made of a `GrammarSource` for one tokenizer.

    Compiling takes a few milliseconds, done by whoever makes the grammar and not in the engine's thread; grammars of one
    source and tokenizer are compiled once. The tokenizer itself is prepared once, which takes about half a second for 49
    thousand tokens.

    Args:
        source: What to hold answers to.
        tokenizer: The model's own, of the fast kind.

    Raises:
        InvalidGrammarError: It takes more than llguidance's limits allow, no text of these tokens fits it, or the tokenizer is
            not of the fast kind, or of one that llguidance can't read.
        MissingExtraError: llguidance is not installed.

    Attributes:
        source: What answers are held to.
    """

    def __init__(self, source: GrammarSource, tokenizer: Any) -> None:
        self.source = source
        self._tokenizer = _prepared(tokenizer)
        self._beginning = self._tokenizer.beginning(source)

    def start(self, stop_ids: frozenset[int]) -> GrammarState:
        """Begin an answer; see `Constraint.start`."""
        return GrammarState(self._beginning.deep_copy(), self._tokenizer.ending, stop_ids)


class GrammarState:
    """How far one answer has come in a grammar; see `ConstraintState`."""

    def __init__(self, matcher: Any, ending: tuple[int, ...], stop_ids: frozenset[int]) -> None:
        self._matcher = matcher
        self._stop_ids = stop_ids
        # llguidance ends with the tokenizer's token, a request with its own.
        self._no_text = [*ending, *stop_ids]

    def mask(self, size: int) -> Tensor:
        """What may come here; tokens that end the answer exactly where the grammar may end.

        Raises:
            InvalidGrammarError: The grammar takes more here than its limits allow, or no token fits it.
        """
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        if self._matcher.is_error():
            raise _refusal(self._matcher)
        mask = torch.zeros(size, dtype=torch.bool)  # A model may have more logits than its tokenizer has tokens, or fewer.
        known = min(size, len(bits))
        mask[:known] = torch.from_numpy(bits[:known]).view(torch.bool)
        mask[[token for token in self._no_text if token < size]] = False
        if self._matcher.is_accepting():
            mask[[token for token in self._stop_ids if token < size]] = True
        return mask

    def accept(self, token: int) -> bool:
        """Go on with a token; complete where the grammar lets nothing follow."""
        if token in self._stop_ids:
            return True
        if not self._matcher.consume_token(token):
            msg = f"The grammar did not take token {token}, which it had allowed: {_first_line(self._matcher)}"
            raise RequestFailedError(msg)
        return bool(self._matcher.is_stopped())


class _PreparedTokenizer:
    """A tokenizer as llguidance reads it, and the beginnings of the grammars compiled for it, least recently used first out."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        try:
            self._tokenizer = library("llguidance.hf").from_tokenizer(tokenizer)
        except ValueError as error:
            msg = f"Answers can't be held to a grammar with this model, as its tokenizer can't be read: {error}. Ask for plain text."
            raise InvalidGrammarError(msg) from None
        self.ending = tuple(self._tokenizer.eos_tokens)
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._guard = threading.Lock()

    def beginning(self, source: GrammarSource) -> Any:
        with self._guard:
            if source.grammar in self._kept:
                self._kept.move_to_end(source.grammar)
                return self._kept[source.grammar]
        matcher = library("llguidance").LLMatcher(self._tokenizer, source.grammar, log_level=0, limits=parser_limits())
        if not matcher.is_error():
            matcher.compute_bitmask()  # The first is the dearest, and copies have it ready.
        if matcher.is_error():
            raise _refusal(matcher)
        with self._guard:
            self._kept[source.grammar] = matcher
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return matcher


_PREPARED: WeakKeyDictionary[Any, _PreparedTokenizer] = WeakKeyDictionary()
_PREPARING = threading.Lock()


def _prepared(tokenizer: Any) -> _PreparedTokenizer:
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        msg = (
            f"Answers can't be held to a grammar with this model: its tokenizer is a {type(tokenizer).__name__}, and a fast one "
            "(PreTrainedTokenizerFast) is needed. Ask for plain text, or take a model with a tokenizer.json."
        )
        raise InvalidGrammarError(msg)
    with _PREPARING:
        if tokenizer not in _PREPARED:
            _PREPARED[tokenizer] = _PreparedTokenizer(tokenizer)
        return _PREPARED[tokenizer]


def _refusal(matcher: Any) -> InvalidGrammarError:
    if "NoExtension" in matcher.get_error():
        return InvalidGrammarError("The grammar can't be held to: it asks for text that none of the model's tokens can begin. Check it.")
    return InvalidGrammarError(f"The grammar can't be held to: {_first_line(matcher)}. Make it simpler or smaller.")


def _first_line(matcher: Any) -> str:
    return str(matcher.get_error()).strip().partition("\n")[0][:300].rstrip(".")


__all__ = ["Grammar", "GrammarState"]
