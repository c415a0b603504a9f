"""Engines for the tests of this folder, all closed and gone at the end of each test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import EngineLimits

NewEngine = Callable[..., Engine]


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("softprompt-engine")]


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
