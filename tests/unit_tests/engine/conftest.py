"""Engines for the tests of this folder, all closed and gone at the end of each test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import EngineLimits

NewEngine = Callable[..., Engine]


_others: set[threading.Thread] = set()


def engine_threads() -> list[threading.Thread]:
    """Threads of engines, but for those that were there before the test: other folders share one for a whole session."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("softprompt-engine") and thread not in _others]


@pytest.fixture(autouse=True)
def _count_own_threads_only() -> Iterator[None]:
    _others.update(engine_threads())
    yield
    _others.clear()


@pytest.fixture
def new_engine() -> Iterator[NewEngine]:
    engines: list[Engine] = []

    def make(model: FrozenModel, **limits: int) -> Engine:
        engines.append(Engine(model, EngineLimits(**limits) if limits else None))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
        assert len(engine._worker._rows) == 0, "a closed engine still holds rows"
    engines.clear()
    assert not engine_threads()
