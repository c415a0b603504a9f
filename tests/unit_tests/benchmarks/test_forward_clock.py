"""The clock that tells the model's passes from our own doing."""

from __future__ import annotations

import time

import pytest

from benchmarks import forward_clock
from langchain_softprompt import Engine, GenerationSettings
from langchain_softprompt.testing import tiny_model, tiny_soft_prompt


def test_every_pass_of_the_model_is_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against transformers' own count: each call of the model is inside one pass, and its time within the wall time."""
    for owner, name, _ in forward_clock._PASSES:
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back afterwards
    clock = forward_clock.ForwardClock()
    with Engine(tiny_model()) as engine:
        clock.reset()
        start = time.perf_counter()
        engine.submit(range(5, 30), soft_prompt=tiny_soft_prompt(1), settings=GenerationSettings(max_new_tokens=4)).result()
        wall = time.perf_counter() - start
    assert clock.calls == {"reading": 1, "decoding": 3}
    assert 0 < clock.total < wall
