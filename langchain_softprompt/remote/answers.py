"""Answer: what comes back of a request, piece by piece, as tokens. Nothing of it is taken on trust."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from langchain_softprompt.errors import RequestFailedError, ServerMismatchError
from langchain_softprompt.printable import printable
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.sampling import TokenLogprob

_NAME = re.compile(r"token_id:([0-9]{1,9})")
# What vLLM writes for a probability of nothing, as JSON has no infinity.
_NOTHING = -9999.0
_REASONS = ("stop", "length")

Step = tuple[int, TokenLogprob | None]


class Answer:
    """One answer as it comes in, from either of vLLM's two routes.

    Args:
        asked: The request, which says what may come.
        vocab_size: How many tokens there are.
        max_positions: How many the server has room for, prompt and answer together; ``None`` where that is not known.

    Attributes:
        asked: The request.
        count: How many tokens were handed out.
        finish_reason: ``"stop"`` or ``"length"``; ``None`` before the end.
        ending: The token that ended it, where one did; a grammar that lets nothing follow may do so without one.
        cached_tokens: How many tokens of soft prompt and text the server had read before.
    """

    def __init__(self, asked: Asked, vocab_size: int, max_positions: int | None = None) -> None:
        self.asked = asked
        self._vocab_size = vocab_size
        self._max_positions = max_positions
        self._ends = frozenset(asked.stop_ids)
        self._over = False  # whether a token that ends answers was handed out as one of it
        self._read = False  # whether the server has said what it read
        self.count = 0
        self.finish_reason: str | None = None
        self.ending: Step | None = None
        self.cached_tokens = 0

    def take(self, event: Mapping[str, Any]) -> list[Step]:
        """The tokens of one event, without the one that ends the answer.

        Raises:
            RequestFailedError: The event is not of a form that vLLM sends.
            ServerMismatchError: The server has read another prompt than was sent.
        """
        self._take_usage(event.get("usage"))
        choices = event.get("choices")
        if not isinstance(choices, list) or len(choices) > 1:
            _malformed("choices", "a list of one choice", choices)
        if not choices:
            return []
        choice = choices[0]
        if not isinstance(choice, dict) or choice.get("index", 0) != 0:
            _malformed("choices", "a choice with index 0", choice)
        self._check_prompt(event.get("prompt_token_ids", choice.get("prompt_token_ids")))
        steps = self._steps(choice)
        reason = choice.get("finish_reason")
        if (steps and (self._over or self.finish_reason is not None)) or any(token in self._ends for token, _ in steps[:-1]):
            _malformed("token_ids", "no more tokens after the end", choice["token_ids"])
        if reason is not None:
            self._finish(reason, steps, choice.get("stop_reason"))
        self._over = self._over or (bool(steps) and steps[-1][0] in self._ends)
        self.count += len(steps)
        if self.count > self.asked.settings.max_new_tokens:
            _malformed("token_ids", f"at most {self.asked.settings.max_new_tokens} tokens", self.count)
        return steps

    def finish(self) -> None:
        """See that the answer is whole.

        Raises:
            RequestFailedError: It broke off.
        """
        if self.finish_reason is None:
            msg = "The server has ended the stream without saying how the answer ends. It may have been restarted; ask again."
            raise RequestFailedError(msg)

    def _check_prompt(self, read: Any) -> None:
        """Refuse an answer to another prompt.

        The server says which tokens it has read, soft rows as placeholders. That they are ours is the proof that nothing on the
        way, its chat template or its tokenizer, has made others of them.
        """
        if read is None:
            return
        ids, virtual = _integers("prompt_token_ids", read, math.inf), self.asked.virtual_tokens
        if len(ids) != virtual + len(self.asked.token_ids) or tuple(ids[virtual:]) != self.asked.token_ids:
            msg = (
                f"The server has read another prompt than was sent: {len(ids)} tokens, where {virtual} virtual tokens and "
                f"{len(self.asked.token_ids)} of text were sent. Start it with the tokenizer of this model, and for soft prompts with "
                "the chat template that `langchain-softprompt serve-command` names."
            )
            raise ServerMismatchError(msg)
        self._read = True

    def _steps(self, choice: Mapping[str, Any]) -> list[Step]:
        given = choice.get("token_ids")
        if given is None:  # the chat route's first event says who speaks, and nothing else
            delta = choice.get("delta")
            said = choice.get("text") or (delta.get("content") if isinstance(delta, dict) else None)
            if said or choice.get("finish_reason") is not None:
                _malformed("token_ids", "the tokens of the text", "none (vLLM 0.32 or newer is needed)")
            return []
        tokens = _integers("token_ids", given, self._vocab_size)
        if tokens and not self._read:
            _malformed("prompt_token_ids", "the prompt's tokens before the answer's", "none (vLLM 0.32 or newer is needed)")
        wanted = self.asked.settings.top_logprobs
        if wanted is None:
            return [(token, None) for token in tokens]
        found = list(_logprobs(choice.get("logprobs"), wanted, self._vocab_size))
        if [token for token, _ in found] != tokens:
            _malformed("logprobs", f"those of the tokens {tokens[:8]}", [token for token, _ in found][:8])
        return found

    def _finish(self, reason: Any, steps: list[Step], stop_reason: Any) -> None:
        if self.finish_reason is not None or reason not in _REASONS:
            _malformed("finish_reason", " or ".join(_REASONS), reason)
        self.finish_reason = reason
        if reason == "stop":
            # vLLM stops at tokens only, and the last one is the one that it stopped at.
            if not steps or (stop_reason is not None and stop_reason != steps[-1][0]):
                _malformed("finish_reason", "stop at a token", f"{reason} at {stop_reason!r}")
            if steps[-1][0] in self._ends:
                self.ending = steps.pop()
            elif self.asked.grammar is None:
                _malformed("finish_reason", f"stop at one of the tokens {sorted(self._ends)[:8]}", f"{reason} at {steps[-1][0]}")
        elif not self._is_full(self.count + len(steps)):
            most = self.asked.settings.max_new_tokens
            _malformed("finish_reason", f"{reason} after {most} tokens", f"{reason} after {self.count + len(steps)}")

    def _is_full(self, count: int) -> bool:
        """Whether an answer of so many tokens has to end: there may be no more, or no room for more."""
        room = math.inf if self._max_positions is None else self._max_positions - self.asked.virtual_tokens - len(self.asked.token_ids)
        return count >= min(self.asked.settings.max_new_tokens, room)

    def _take_usage(self, usage: Any) -> None:
        if usage is None:
            return
        details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        if not isinstance(usage, dict) or not isinstance(details, dict | None):
            _malformed("usage", "counts of tokens", usage)
        if cached is not None:
            (self.cached_tokens,) = _integers("usage", [cached], self.asked.virtual_tokens + len(self.asked.token_ids) + 1)


def _logprobs(given: Any, wanted: int, vocab_size: int) -> Iterator[Step]:
    """Of each token, from either route's form."""
    if isinstance(given, dict) and isinstance(given.get("content"), list):
        for entry in given["content"]:
            if not isinstance(entry, dict) or not isinstance(entry.get("top_logprobs"), list):
                _malformed("logprobs", "a token with its likeliest neighbours", entry)
            near = [(_one(top, "token"), _one(top, "logprob")) for top in entry["top_logprobs"]]
            yield _step(_one(entry, "token"), _one(entry, "logprob"), near, wanted, vocab_size)
        return
    columns = [given.get(name) for name in ("tokens", "token_logprobs", "top_logprobs")] if isinstance(given, dict) else [None]
    if not all(isinstance(column, list) for column in columns) or len({len(column or ()) for column in columns}) != 1:
        _malformed("logprobs", "tokens, token_logprobs and top_logprobs of one length", given)
    for name, logprob, tops in zip(*(column or () for column in columns), strict=True):
        if not isinstance(tops, dict):
            _malformed("logprobs", "likeliest tokens by name", tops)
        yield _step(name, logprob, list(tops.items()), wanted, vocab_size)


def _step(name: Any, logprob: Any, near: list[tuple[Any, Any]], wanted: int, vocab_size: int) -> Step:
    tops = {_token(other, vocab_size): _logprob(value) for other, value in near}
    # What a grammar has ruled out is there with a probability of nothing.
    ranked = sorted(((token, value) for token, value in tops.items() if value > -math.inf), key=lambda pair: -pair[1])
    return _token(name, vocab_size), TokenLogprob(_logprob(logprob), tuple(ranked[:wanted]))


def _one(entry: Any, name: str) -> Any:
    if not isinstance(entry, dict) or name not in entry:
        _malformed("logprobs", f"an entry with {name!r}", entry)
    return entry[name]


def _token(name: Any, vocab_size: int) -> int:
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    if found is None or int(found[1]) >= vocab_size:
        _malformed("logprobs", f"a token as 'token_id:N' with N below {vocab_size}", name)
    return int(found[1])


def _logprob(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= 1e-3:
        _malformed("logprobs", "a log-probability", value)
    return -math.inf if value <= _NOTHING else min(0.0, float(value))


def _integers(field: str, values: Any, below: float) -> list[int]:
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < below for value in values):
        _malformed(field, f"integers from 0 to below {below}", values)
    return values


def _malformed(field: str, expected: str, found: Any) -> NoReturn:
    msg = f"The server's answer can't be read: {field}: expected {expected}, found {printable(found)}."
    raise RequestFailedError(msg)


__all__ = ["Answer", "Step"]
