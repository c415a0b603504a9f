"""Choosing: a call that is answered with the likeliest of some labels, all of them scored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_softprompt.calls.answering import Answering, Call, UnderWay, loop_alarm, thread_alarm
from langchain_softprompt.calls.errors import in_langchain_family
from langchain_softprompt.chat_models.choices import SCORES, ChoiceResult, Labels, best, check_normalize, choice_of, compare, read_labels
from langchain_softprompt.errors import InvalidSettingsError, RequestCancelledError, RequestFailedError
from langchain_softprompt.messages import render_labels

if TYPE_CHECKING:
    from langchain_softprompt.calls.ports import ScoringPort, ScoringResultPort


class Choosing(UnderWay):
    """A call with choices under way: an `Answering` whose text is one of them, told at once."""

    def __init__(self, call: Call, texts: list[str], normalize: str) -> None:
        self._texts = texts
        self._normalize = normalize
        model = call.engine.model
        with in_langchain_family():
            self._labels = render_labels(model.tokenizer, texts, model.eos_token_ids)
            self._check_labels(bool(model.eos_token_ids))
            scoring = call.engine.score(
                call.token_ids, self._labels, soft_prompt=call.soft_prompt, allow_other_model=call.allow_other_model
            )
        self._scoring: ScoringPort = scoring
        super().__init__(call, scoring)

    def pieces(self) -> Iterator[str]:
        """The label, in one piece."""
        yield self.whole()

    async def apieces(self) -> AsyncIterator[str]:
        """The same in an event loop."""
        yield await self.awhole()

    def whole(self) -> str:
        """The label."""
        with self._under_way(thread_alarm):
            try:
                return self._choose(self._scoring.result())
            except RequestCancelledError:
                raise self._cancelled() from None

    async def awhole(self) -> str:
        """The same in an event loop, without a thread."""
        with self._under_way(loop_alarm):
            try:
                return self._choose(await self._scoring.wait())
            except RequestCancelledError:
                raise self._cancelled() from None

    def _check_labels(self, ended: bool) -> None:  # noqa: FBT001
        seen: dict[tuple[int, ...], str] = {}
        for text, label in zip(self._texts, self._labels, strict=True):
            if len(label) <= ended:
                msg = f"labels: {text!r} has no tokens in this model's vocabulary. Write it in another way."
                raise InvalidSettingsError(msg)
            if label in seen:
                msg = f"labels: {seen[label]!r} and {text!r} are the same tokens to this model. Write one of them in another way."
                raise InvalidSettingsError(msg)
            seen[label] = text

    def _choose(self, result: ScoringResultPort) -> str:
        log_probs, counts = list(result.totals), [len(label) for label in self._labels]
        scores = compare(log_probs, counts, self._normalize)
        chosen = best(scores)
        if scores[chosen] == float("-inf"):
            msg = "The model gives no label any probability at all. Check the labels and the soft prompt."
            raise RequestFailedError(msg)
        written = len(self._labels[chosen]) - bool(self.call.engine.model.eos_token_ids)
        facts: dict[str, Any] = {"log_probs": log_probs, "token_counts": counts, "normalize": self._normalize}
        self._end(result.cached_tokens, written, "stop", {SCORES: facts})
        return self._texts[chosen]


def answer(call: Call) -> Answering | Choosing:
    """Put a call to its engine."""
    return Answering(call) if call.choices is None else Choosing(call, *call.choices)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the result off an answer; no closure, so that a chain with it can be pickled."""

    labels: tuple[Any, ...]
    with_raw: bool

    def __call__(self, message: AIMessage) -> ChoiceResult[Any] | dict[str, Any]:
        result = choice_of(message, self.labels)
        return {"raw": message, "parsed": result, "parsing_error": None} if self.with_raw else result


def choose_with(model: Runnable[Any, Any], labels: Labels, *, normalize: str, include_raw: bool, **kwargs: Any) -> Runnable[Any, Any]:
    """A chain of a model, bound to some labels, and what reads the result off its answer.

    Args:
        model: A `ChatSoftPrompt` or a binding of one.
        labels: See `choices.read_labels`.
        normalize: What labels are compared by.
        include_raw: Whether to hand out the model's message too.
        kwargs: Further arguments of each call.

    Raises:
        InvalidSettingsError: The labels are none, or `normalize` is not known.
    """
    texts = read_labels(labels)

    bound = model.bind(choices={"texts": list(texts.values()), "normalize": check_normalize(normalize)}, **kwargs)
    reader: RunnableLambda[Any, Any] = RunnableLambda(_Reader(tuple(texts), include_raw), name="choice_of")
    return cast("Runnable[LanguageModelInput, Any]", bound | reader)
