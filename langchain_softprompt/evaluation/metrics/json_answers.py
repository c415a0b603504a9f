"""Answers that are JSON: valid, the same, and how many of their values are right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from langchain_softprompt.evaluation.metrics.metric import Judged, Measured, mean_of

if TYPE_CHECKING:
    from langchain_softprompt.evaluation.metrics.metric import Numbers

_NOTHING: Any = object()
_MOST_LEVELS = 100


def is_json_object(text: str) -> bool:
    """Whether a text is one JSON object."""
    return isinstance(_parsed(text), dict)


def valid_json(rows: Sequence[Judged]) -> Measured:
    """The share of answers that are JSON, and JSON objects where one is wanted."""
    return mean_of([float(_is_valid(row)) for row in rows], binary=True)


def json_exact_match(rows: Sequence[Judged], *, ignore_case: bool = False) -> Measured:
    """The share of answers that are the wanted JSON; order of names and white space aside."""
    return mean_of([float(_same(row, ignore_case=ignore_case)) for row in rows], binary=True)


def slot_f1(rows: Sequence[Judged], *, ignore_case: bool = False) -> Measured:
    """F1 of (name, value) pairs over all rows together (micro-averaged), in answers and in what is wanted.

    For ``{"intent": ..., "slots": {name: text or list}}`` these are the slots; a list gives a pair for each entry. For any
    other object they are all its innermost values, each under its path. An answer that is no JSON has none. A row in which
    none is wanted and none is given has no value of its own.
    """
    parts = np.zeros((len(rows), 3))
    for number, row in enumerate(rows):
        wanted = Counter(_slots(_parsed(row.wanted), ignore_case=ignore_case))
        given = Counter(_slots(_parsed(row.answer), ignore_case=ignore_case))
        right = (wanted & given).total()
        parts[number] = right, given.total() - right, wanted.total() - right
    return Measured(_f1(parts), parts, _f1)


def _f1(sums: Numbers) -> Numbers:
    with np.errstate(divide="ignore", invalid="ignore"):
        made: Numbers = 2 * sums[:, 0] / (2 * sums[:, 0] + sums[:, 1] + sums[:, 2])
    return made


def _is_valid(row: Judged) -> bool:
    given = _parsed(row.answer)
    return given is not _NOTHING and (isinstance(given, dict) or not is_json_object(row.wanted))


def _same(row: Judged, *, ignore_case: bool) -> bool:
    wanted, given = _parsed(row.wanted), _parsed(row.answer)
    if wanted is _NOTHING or given is _NOTHING:
        return False
    return _canonical(wanted, ignore_case=ignore_case) == _canonical(given, ignore_case=ignore_case)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NOTHING


def _refuse(name: str) -> Any:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


def _canonical(value: Any, *, ignore_case: bool) -> str:
    """Text that is equal for equal JSON. In Python 1, 1.0 and true are equal; in JSON only the first two are."""
    text = json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)
    return text.casefold() if ignore_case else text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _slots(value: Any, *, ignore_case: bool) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        return
    slots = value.get("slots")
    found = slots if isinstance(slots, dict) and set(value) <= {"intent", "slots"} else value
    for name, leaf in _leaves(found, "", _MOST_LEVELS):
        text = leaf.strip() if isinstance(leaf, str) else _canonical(leaf, ignore_case=False)
        yield name, text.casefold() if ignore_case else text


def _leaves(value: Any, path: str, levels: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value and levels:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name, levels - 1)
    elif isinstance(value, list) and value and levels:
        for inner in value:
            yield from _leaves(inner, path, levels - 1)
    elif value not in ({}, []):
        yield path, value
