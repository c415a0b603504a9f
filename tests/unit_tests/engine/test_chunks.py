"""A long prompt is read in chunks: rows that are being answered move on in between, and no answer changes."""

from __future__ import annotations

import itertools
import threading

import pytest

from langchain_softprompt.settings import GenerationSettings
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.inside import Pass, each_pass
from tests.unit_tests.engine.tiny import build, embedding_prompt, generate, tokens


class _Passes(list[Pass]):
    """The passes since the first step of so many rows, which waits for `go_on`, as do the passes after it."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._rows = rows
        self._reached, self._may_go_on = threading.Event(), threading.Event()

    def __call__(self, one: Pass) -> None:
        if one.is_step and one.rows == self._rows and not self._reached.is_set():
            self._reached.set()
            self._may_go_on.wait()
        if self._reached.is_set():
            self.append(one)

    def wait_for_step(self) -> None:
        self._reached.wait()

    def go_on(self) -> None:
        self._may_go_on.set()


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_every_stream_gets_a_token_between_two_chunks_of_a_long_prompt(family: str, new_engine: NewEngine) -> None:
    engine = new_engine(build(family), prefill_chunk=16)
    long, prompt, passes = tokens(300, 9), embedding_prompt(5), _Passes(rows=2)
    with each_pass(engine, passes):
        streams = [engine.submit(tokens(3, seed), settings=GenerationSettings(max_new_tokens=100)) for seed in range(2)]
        passes.wait_for_step()
        late = engine.submit(long, soft_prompt=prompt, settings=GenerationSettings(max_new_tokens=8))
        passes.go_on()
        answer = late.result()
    chunks = [place for place, one in enumerate(passes) if not one.is_step]
    assert [passes[place].length for place in chunks] == [16] * 19 + [1]
    for one, following in itertools.pairwise(chunks):
        between = passes[one + 1 : following]
        assert between == [Pass(2, 1, between[0].tokens, is_step=True)]
    assert list(answer.token_ids) == generate(engine.model, long, prompt, new=8)
    for seed, generation in enumerate(streams):
        assert list(generation.result().token_ids) == generate(engine.model, tokens(3, seed), new=100)


def test_a_chunk_is_shared_by_the_prompts_that_are_read(new_engine: NewEngine) -> None:
    """However many arrive, the rows that are being answered wait for no more than one chunk."""
    engine = new_engine(build("llama"), prefill_chunk=16)
    passes = _Passes(rows=1)
    with each_pass(engine, passes):
        stream = engine.submit(tokens(3), settings=GenerationSettings(max_new_tokens=50))
        passes.wait_for_step()
        others = [engine.submit(tokens(25, seed), settings=GenerationSettings(max_new_tokens=5)) for seed in range(1, 6)]
        passes.go_on()
        answers = [list(generation.result().token_ids) for generation in others]
    read = 0
    for one in passes:
        read = 0 if one.is_step else read + one.length
        assert read <= 16
    assert answers == [generate(engine.model, tokens(25, seed), new=5) for seed in range(1, 6)]
    assert list(stream.result().token_ids) == generate(engine.model, tokens(3), new=50)


@pytest.mark.parametrize("chunk", [1, 2, 7, 64])
@pytest.mark.parametrize("family", ["llama", "mistral", "lfm2", "mamba"])
def test_no_answer_depends_on_the_size_of_a_chunk(family: str, chunk: int, new_engine: NewEngine) -> None:
    chunked, whole = new_engine(build(family), prefill_chunk=chunk), new_engine(build(family), prefill_chunk=512)
    for length, prompt in ((1, None), (30, None), (30, embedding_prompt(9))):
        answers = [
            engine.submit(tokens(length, 5), soft_prompt=prompt, settings=GenerationSettings(max_new_tokens=6)).result()
            for engine in (chunked, whole)
        ]
        assert answers[0] == answers[1]
