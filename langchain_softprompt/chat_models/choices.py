"""Labels to choose from, and what comes of choosing: a label, probabilities and a margin."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Literal, NoReturn, TypeVar, get_args, get_origin

from langchain_core.messages import AIMessage

from langchain_softprompt.errors import InvalidSettingsError

Normalize = Literal["sum", "mean"]
NORMALIZE: tuple[Normalize, ...] = ("sum", "mean")
SCORES = "choice_scores"

Label = TypeVar("Label", bound=Hashable)
Labels = Iterable[str] | Mapping[Any, str] | type[Enum] | Any


@dataclass(frozen=True, slots=True)
class ChoiceResult(Generic[Label]):
    """Which of some labels the model would answer with, and how sure it is.

    Attributes:
        label: The likeliest label; the first given of equally likely ones.
        probabilities: For each label the probability that the answer is this one, given that it is one of them: the softmax of
            `log_probs`, or of `mean_log_probs` with ``normalize="mean"``. They say nothing of how likely it is that the model
            would write something else; the sum of ``exp(log_probs)`` says that.
        log_probs: For each label the natural logarithm of the probability that the model, asked freely, writes exactly this
            answer and ends its turn.
        mean_log_probs: The same divided by the number of tokens, so that long labels are not at a disadvantage.
        margin: Probability of the likeliest label less that of the second; 1 where there is no second.
    """

    label: Label
    probabilities: dict[Label, float]
    log_probs: dict[Label, float]
    mean_log_probs: dict[Label, float]
    margin: float


def read_labels(labels: Labels) -> dict[Any, str]:
    """Labels and the text that each is written as, checked.

    Args:
        labels: Texts; or a mapping from label to text; or an `Enum` class, whose values are the texts; or a `Literal`.

    Raises:
        InvalidSettingsError: There are none, one has no text, or two have the same.
    """
    texts = _texts(labels)
    if not texts:
        _refuse("at least one label", "none")
    seen: dict[str, Any] = {}
    for label, text in texts:
        if not isinstance(text, str):
            _refuse("text for each label", f"{text!r} for {label!r}. Give a dictionary from label to text")
        if not text.strip():
            _refuse("text for each label", f"{text!r} for {label!r}")
        if text in seen:
            _refuse("different labels", f"{text!r} twice")
        seen[text] = label
    return dict(texts)


def _texts(labels: Labels) -> list[tuple[Any, Any]]:
    if isinstance(labels, type) and issubclass(labels, Enum):
        return [(member, member.value) for member in labels]
    if get_origin(labels) is Literal:
        return [(value, value) for value in get_args(labels)]
    if isinstance(labels, Mapping):
        return list(labels.items())
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        _refuse("a list of texts, a dictionary, an Enum class or a Literal", repr(labels))
    return [(value, value) for value in labels]


def check_normalize(normalize: str) -> str:
    """Refuse a way of comparing that there is not.

    Raises:
        InvalidSettingsError: It is none of `NORMALIZE`.
    """
    if normalize not in NORMALIZE:
        msg = f"normalize: expected one of {', '.join(NORMALIZE)}, found {normalize!r}."
        raise InvalidSettingsError(msg)
    return normalize


def check_choices(choices: Any) -> tuple[list[str], str]:
    """What `with_choices` has bound to a call: the labels' texts and how they are compared.

    Raises:
        InvalidSettingsError: It was made by hand.
    """
    if not isinstance(choices, Mapping) or set(choices) != {"texts", "normalize"}:
        msg = f"choices: found {choices!r}. Make them with llm.with_choices([...])."
        raise InvalidSettingsError(msg)
    return list(read_labels(choices["texts"]).values()), check_normalize(choices["normalize"])


def compare(log_probs: Sequence[float], counts: Sequence[int], normalize: str) -> list[float]:
    """What labels are compared by: log-probabilities, of the whole or of a token in the mean."""
    if normalize == "sum":
        return list(log_probs)
    return [total / count for total, count in zip(log_probs, counts, strict=True)]


def best(scores: Sequence[float]) -> int:
    """The place of the best score, the first of equals."""
    return max(range(len(scores)), key=scores.__getitem__)


def choice_of(message: AIMessage, labels: Sequence[Any]) -> ChoiceResult[Any]:
    """Read the result off an answer's metadata.

    Args:
        message: What a call with choices answered.
        labels: The labels in the order in which their texts were given.
    """
    facts = message.response_metadata[SCORES]
    log_probs, counts = facts["log_probs"], facts["token_counts"]
    scores = compare(log_probs, counts, facts["normalize"])
    first = best(scores)
    weights = [math.exp(score - scores[first]) for score in scores]
    whole = math.fsum(weights)
    shares = [weight / whole for weight in weights]
    second = max((share for place, share in enumerate(shares) if place != first), default=0.0)
    return ChoiceResult(
        label=labels[first],
        probabilities=dict(zip(labels, shares, strict=True)),
        log_probs=dict(zip(labels, log_probs, strict=True)),
        mean_log_probs=dict(zip(labels, compare(log_probs, counts, "mean"), strict=True)),
        margin=shares[first] - second,
    )


def _refuse(expected: str, found: str) -> NoReturn:
    msg = f"labels: expected {expected}, found {found}."
    raise InvalidSettingsError(msg)
