"""Plain values: what JSON can hold, made of the dataclasses that results are told in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any


def _nothing(_: Any) -> Mapping[str, Any]:
    return {}


def plain(value: Any, more: Callable[[Any], Mapping[str, Any]] = _nothing) -> Any:
    """The same as mappings, lists, texts and numbers; numbers that are not finite become ``None``.

    Args:
        value: A dataclass, mapping, list, tuple, or what is plain already.
        more: For each dataclass, what it says beside its fields.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        facts = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return plain({**facts, **more(value)}, more)
    if isinstance(value, Mapping):
        return {str(name): plain(inner, more) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, more) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


__all__ = ["plain"]
