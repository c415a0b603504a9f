"""One engine for the whole process per frozen model, loaded on first use."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from langchain_softprompt.engine.engine import Engine
from langchain_softprompt.engine.handle import FORKED
from langchain_softprompt.errors import EngineClosedError, InvalidSettingsError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import EngineLimits

_Key = tuple[str, str | None, str | None, str, str, str | None]


@dataclass(eq=False, slots=True)
class _Place:
    """Where one engine stands; its lock makes a second asker wait for the first one's load."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    engine: Engine | None = None


class _Registry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.places: dict[_Key, _Place] = {}
        self.forked = False


_registry = _Registry()


def get_engine(
    model: str | Path,
    *,
    revision: str | None = None,
    gguf_file: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    quantization: str | None = None,
    limits: EngineLimits | None = None,
) -> Engine:
    """The process's engine for a frozen model; the model is loaded by the first call that asks for it.

    Threads that ask at once share one load. A failed load is not remembered.

    Args:
        model: Name or folder, as `FrozenModel.load` takes it, as do the next five.
        revision: Branch, tag or commit.
        gguf_file: Name of a GGUF file.
        dtype: Type of the weights.
        device: Where to put them.
        quantization: ``"int8"``, or ``None`` for weights as they are.
        limits: How much the engine may hold; ``None`` takes what there is.

    Raises:
        FrozenModelError: The model can't be loaded.
        InvalidSettingsError: The engine runs already, with other limits.
        EngineClosedError: This process was forked from one that had engines.
    """
    if _registry.forked:
        raise EngineClosedError(FORKED)
    key = _key(model, revision, gguf_file, dtype, device, quantization)
    with _registry.lock:
        place = _registry.places.setdefault(key, _Place())
    with place.lock:
        if place.engine is None or place.engine.closed:
            frozen = FrozenModel.load(
                model, revision=revision, gguf_file=gguf_file, dtype=dtype, device=device, quantization=quantization, packed=True
            )
            place.engine = Engine(frozen, limits)
        engine = place.engine
    if limits is not None and limits != engine.limits:
        msg = f"The engine of {model} runs already, with {engine.limits}, not {limits}. Use the same limits, or call close_all() first."
        raise InvalidSettingsError(msg)
    return engine


def peek_engine(
    model: str | Path,
    *,
    revision: str | None = None,
    gguf_file: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    quantization: str | None = None,
) -> Engine | None:
    """The engine that `get_engine` would give, if it is there already; loads nothing and waits for nobody."""
    if _registry.forked:
        return None
    place = _registry.places.get(_key(model, revision, gguf_file, dtype, device, quantization))
    return place.engine if place is not None and place.engine is not None and not place.engine.closed else None


def _key(model: str | Path, revision: str | None, gguf_file: str | None, dtype: str, device: str, quantization: str | None) -> _Key:
    return (_name(model), revision, gguf_file, str(dtype).removeprefix("torch."), str(device), quantization)


def close_all() -> None:
    """Close every engine of the process and let go of their models; the next `get_engine` loads afresh."""
    if _registry.forked:
        return
    with _registry.lock:
        places = list(_registry.places.values())
        _registry.places.clear()
    for place in places:
        with place.lock:
            if place.engine is not None:
                place.engine.close()
                place.engine.model.close()


def _name(model: str | Path) -> str:
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else str(model)


def _after_fork() -> None:
    # The locks may have been held by threads that don't exist here, so they are replaced, not used. Inherited engines
    # are dead; loading beside them would double the memory and deadlock OpenMP, so that is refused.
    global _registry
    had_engines = _registry.forked or bool(_registry.places)
    _registry = _Registry()
    _registry.forked = had_engines


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


__all__ = ["close_all", "get_engine"]
