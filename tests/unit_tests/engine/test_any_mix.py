"""Any mix of requests, limits, arrivals and cancels: every row equals its solo run, token for token in float32."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_softprompt.engine import Engine, Generation
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.engine.inside import check_nothing_left
from tests.unit_tests.engine.tiny import embedding_prompt, generate, key_value_prompt, shared, tokens, wait_until_idle

LONGEST = 14
GREEDY = GenerationSettings()
_SETTINGS = (
    GREEDY,
    GREEDY,
    GenerationSettings(repetition_penalty=1.3),
    GenerationSettings(temperature=1.1, seed=1),
    GenerationSettings(temperature=0.7, top_k=12, top_p=0.9, repetition_penalty=1.1, seed=2),
    GenerationSettings(temperature=1.5, min_p=0.05, seed=3),
)


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked.

    Attributes:
        head: Which text it begins with, of three that share their first 16 tokens or more, long enough to be remembered.
        head_length: How much of it.
        tail: Length of its own text after that.
        soft: Which soft prompt, if any.
        settings: How to generate.
    """

    head: int
    head_length: int
    tail: int
    soft: str | None
    settings: GenerationSettings

    @property
    def token_ids(self) -> list[int]:
        """The text."""
        head = [*tokens(20, 1), *tokens(20, self.head)]
        return [*head[: self.head_length], *tokens(self.tail, 100 + self.tail)]

    def soft_prompt(self, family: str) -> SoftPrompt | None:
        """The soft prompt."""
        prompts = {"short": embedding_prompt(1, 1), "middle": embedding_prompt(5, 2), "long": embedding_prompt(18, 3)}
        if self.soft == "keys and values":
            return key_value_prompt(shared(family), 6, 4)
        return prompts[self.soft] if self.soft else None

    def submit(self, engine: Engine, new: int) -> Generation:
        """Ask it."""
        prompt = self.soft_prompt(engine.model.name.removeprefix("tiny-"))
        return engine.submit(self.token_ids, soft_prompt=prompt, settings=self.settings.override(max_new_tokens=new))


def _asks(family: str) -> st.SearchStrategy[Ask]:
    soft = [None, "short", "middle", "long"]
    return st.builds(
        Ask,
        head=st.integers(1, 3),
        head_length=st.sampled_from([0, 15, 16, 20, 30, 40]),
        tail=st.integers(1, 22),
        soft=st.sampled_from(soft if family == "lfm2" else [*soft, "keys and values"]),
        settings=st.sampled_from(_SETTINGS),
    )


def _arrivals(family: str) -> st.SearchStrategy[list[tuple[Ask, int, int, int | None]]]:
    """What is asked, new tokens, tokens of an earlier request to wait for before, and tokens after which it is cancelled."""
    return st.lists(
        st.tuples(_asks(family), st.integers(1, LONGEST), st.integers(0, 3), st.sampled_from([None, None, None, 0, 2])),
        min_size=1,
        max_size=10,
    )


_LIMITS = st.builds(
    EngineLimits,
    max_rows=st.integers(1, 5),
    max_tokens=st.sampled_from([None, 100, 200]),
    prefill_chunk=st.sampled_from([1, 5, 16, 256]),
    prefix_cache_bytes=st.sampled_from([0, 8_000, 30_000, 1 << 20]),
)


@pytest.mark.parametrize("family", ["llama", "mistral", "lfm2"])
@settings(deadline=None, max_examples=25)
@given(data=st.data(), limits=_LIMITS)
def test_every_row_equals_its_solo_run(family: str, data: st.DataObject, limits: EngineLimits) -> None:
    arrivals = data.draw(_arrivals(family))
    with Engine(shared(family), limits) as engine:
        running: list[Generation] = []
        for ask, new, wait, cancel_after in arrivals:
            if running:
                _read(running[-1], wait)
            generation = ask.submit(engine, new)
            running.append(generation)
            if cancel_after is not None:
                _read(generation, cancel_after)
                generation.cancel()
        for (ask, new, _, cancel_after), generation in zip(arrivals, running, strict=True):
            result = generation.result()
            assert list(result.token_ids) == _alone(family, ask)[: len(result.token_ids)]
            assert result.finish_reason == "length" or cancel_after is not None
            assert result.finish_reason == "cancelled" or len(result.token_ids) == new
        wait_until_idle(engine)
        check_nothing_left(engine)


@cache
def _alone(family: str, ask: Ask) -> list[int]:
    """Greedy: what transformers generates; drawn: the engine with one row, which remembers nothing and reads at once."""
    if ask.settings == GREEDY:
        return generate(shared(family), ask.token_ids, ask.soft_prompt(family), new=LONGEST)
    with Engine(shared(family), EngineLimits(max_rows=1, prefix_cache_bytes=0, prefill_chunk=1000)) as engine:
        return list(ask.submit(engine, LONGEST).result().token_ids)


def _read(generation: Generation, count: int) -> None:
    for _ in zip(range(count), generation, strict=False):
        pass
