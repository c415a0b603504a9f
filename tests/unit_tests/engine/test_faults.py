"""One request fails, with a typed error and its cause; the engine goes on."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from langchain_softprompt.decode import Prefill
from langchain_softprompt.engine import Engine, Generation
from langchain_softprompt.errors import ModelMismatchError, RequestFailedError
from langchain_softprompt.sampling import Sampler
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import PromptTuning
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.inside import FAULTS, FaultError, Pass, check_nothing_left, each_pass, failing, replaced
from tests.unit_tests.engine.tiny import build, embedding_prompt, generate, shared, tokens, wait_until_idle

NEW = GenerationSettings(max_new_tokens=10)
POISON = 13

Fault = Callable[[], Exception]
each_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@contextmanager
def raising(engine: Engine, fault: Fault = FaultError, *, rows: int | None = None, with_token: int | None = None) -> Iterator[list[Pass]]:
    """Passes raise when they have at least so many rows, or read that token; the list grows by those that did."""
    raised: list[Pass] = []

    def look(one: Pass) -> None:
        if (rows is not None and one.rows >= rows) or with_token in one.tokens:
            raised.append(one)
            raise fault()

    with each_pass(engine, look):
        yield raised


def _clean_tokens(length: int, seed: int) -> list[int]:
    return [token if token != POISON else 1 for token in tokens(length, seed)]


@each_fault
def test_a_fault_in_prefill_fails_that_request_alone_with_its_cause(fault: Fault, new_engine: NewEngine) -> None:
    model = build("llama")
    engine = new_engine(model)
    expected = generate(model, _clean_tokens(5, 1), new=10)
    assert POISON not in expected
    with raising(engine, fault, with_token=POISON):
        running = [engine.submit(ids, settings=NEW) for ids in (_clean_tokens(5, 1), [1, POISON, 2], _clean_tokens(5, 1))]
        with pytest.raises(RequestFailedError) as caught:
            running[1].result()
        assert str(caught.value).endswith(f"{type(fault()).__name__}: {fault()}")
        assert type(caught.value.__cause__) is type(fault())
        assert [list(running[n].result().token_ids) for n in (0, 2)] == [expected] * 2
    wait_until_idle(engine)
    check_nothing_left(engine)


@each_fault
def test_a_fault_in_a_later_chunk_of_a_prompt_leaves_nothing_of_it_behind(fault: Fault, new_engine: NewEngine) -> None:
    model = build("llama")
    engine = new_engine(model, prefill_chunk=8)
    text = _clean_tokens(40, 3)
    with raising(engine, fault, with_token=POISON), pytest.raises(RequestFailedError):
        engine.submit([*text, POISON], soft_prompt=embedding_prompt(5), settings=NEW).result()
    wait_until_idle(engine)
    check_nothing_left(engine)
    answer = engine.submit(text, soft_prompt=embedding_prompt(5), settings=NEW).result()
    assert list(answer.token_ids) == generate(model, text, embedding_prompt(5), new=10)
    assert answer.cached_tokens == 0


@each_fault
@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_step_that_is_too_big_for_the_machine_is_taken_again_in_halves_and_nobody_fails(
    most: int, fault: Fault, new_engine: NewEngine
) -> None:
    """Out of memory with more than so many rows at once, say."""
    model = build("llama")
    engine = new_engine(model)
    with raising(engine, fault, rows=most + 1) as raised:
        running = [engine.submit(tokens(5, seed), settings=NEW) for seed in range(5)]
        answers = [list(generation.result().token_ids) for generation in running]
    assert raised
    assert answers == [generate(model, tokens(5, seed), new=10) for seed in range(5)]
    wait_until_idle(engine)
    check_nothing_left(engine)


@each_fault
def test_a_fault_of_one_row_in_a_shared_step_fails_that_row_alone(fault: Fault, new_engine: NewEngine) -> None:
    model = build("llama")
    engine = new_engine(model)
    texts = [tokens(5, seed) for seed in (1, 2, 3)]
    whole = [generate(model, ids, new=10) for ids in texts]
    fatal = next(token for token in whole[1][2:] if token not in {*whole[0], *whole[2], *texts[0], *texts[1], *texts[2]})
    with raising(engine, fault, with_token=fatal):
        running = [engine.submit(ids, settings=NEW) for ids in texts]
        with pytest.raises(RequestFailedError) as caught:
            running[1].result()
        assert type(caught.value.__cause__) is type(fault())
        assert [list(running[n].result().token_ids) for n in (0, 2)] == [whole[0], whole[2]]
    wait_until_idle(engine)
    check_nothing_left(engine)
    assert list(engine.submit(texts[1], settings=NEW).result().token_ids) == whole[1]


@each_fault
def test_a_fault_of_one_row_on_native_caches_fails_that_row_alone(fault: Fault, new_engine: NewEngine) -> None:
    model = build("lfm2")
    engine = new_engine(model)
    texts = [tokens(5, seed) for seed in (1, 2, 3)]
    whole = [generate(model, ids, new=10) for ids in texts]
    fatal = next(token for token in whole[1][2:] if token not in {*whole[0], *whole[2], *texts[0], *texts[1], *texts[2]})
    with raising(engine, fault, with_token=fatal):
        running = [engine.submit(ids, settings=NEW) for ids in texts]
        with pytest.raises(RequestFailedError):
            running[1].result()
        assert [list(running[n].result().token_ids) for n in (0, 2)] == [whole[0], whole[2]]
    wait_until_idle(engine)
    check_nothing_left(engine)


@each_fault
@pytest.mark.parametrize("fatal", [1, 4], ids=["first token", "later token"])
def test_a_fault_in_picking_a_token_fails_that_row_alone(fatal: int, fault: Fault, new_engine: NewEngine) -> None:
    """Beside rows that take the likeliest token; the first one is picked while others are read."""
    engine = new_engine(shared("llama"))
    drawing = NEW.override(temperature=1.0, seed=7)
    settings = [NEW, drawing, NEW]
    expected = [engine.submit(tokens(5, seed), settings=settings[seed]).result().token_ids for seed in range(3)]
    calls: list[int] = []

    def is_fatal(*_: Any) -> bool:
        calls.append(1)
        return len(calls) == fatal

    with failing(Sampler, "_draw", fault, when=is_fatal):
        running = [engine.submit(tokens(5, seed), settings=settings[seed]) for seed in range(3)]
        with pytest.raises(RequestFailedError):
            running[1].result()
        assert running[1].tokens == expected[1][: fatal - 1]
        assert [running[n].result().token_ids for n in (0, 2)] == [expected[0], expected[2]]
    wait_until_idle(engine)
    check_nothing_left(engine)


@each_fault
def test_when_there_is_no_memory_to_pick_for_all_rows_at_once_each_picks_alone(fault: Fault, new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    raised: list[int] = []

    class Unlucky(Tensor):
        def max(self, *_: Any, **options: Any) -> Any:
            if "dim" in options:
                raised.append(1)
                raise fault()
            return self.as_subclass(Tensor).max()

    def instead(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *inputs: step(*inputs).as_subclass(Unlucky)

    with replaced(engine.model.passes, "step", instead):
        running = [engine.submit(tokens(5, seed), settings=NEW) for seed in range(3)]
        answers = [list(generation.result().token_ids) for generation in running]
    assert raised
    assert answers == [generate(engine.model, tokens(5, seed), new=10) for seed in range(3)]


@each_fault
@pytest.mark.parametrize("family", ["llama", "lfm2"])
@pytest.mark.parametrize("method", ["next_part", "took"])
def test_a_fault_before_or_after_the_pass_over_a_prompt_is_that_prompts_alone(
    method: str, family: str, fault: Fault, new_engine: NewEngine
) -> None:
    """Embedding it, or copying its native cache: both take memory."""
    engine = new_engine(build(family))
    texts = [_clean_tokens(6, 1), [1, POISON, 2], _clean_tokens(7, 2)]

    def is_fatal(prefill: Prefill, *_: Any) -> bool:
        return POISON in prefill._ids

    with failing(Prefill, method, fault, when=is_fatal) as raised:
        running = [engine.submit(text, settings=NEW) for text in texts]
        with pytest.raises(RequestFailedError):
            running[1].result()
        assert [list(running[n].result().token_ids) for n in (0, 2)] == [generate(engine.model, texts[n], new=10) for n in (0, 2)]
    assert raised
    wait_until_idle(engine)
    check_nothing_left(engine)


@each_fault
def test_a_fault_while_a_soft_prompt_is_compiled_fails_its_request_alone_and_keeps_nothing_of_it(
    fault: Fault, new_engine: NewEngine
) -> None:
    model = build("llama")
    engine = new_engine(model)
    prompt, text = embedding_prompt(6), tokens(5)

    def look(one: Pass) -> None:
        if one.has_soft_rows:
            raise fault()

    with each_pass(engine, look):
        good, bad = engine.submit(text, settings=NEW), engine.submit(text, soft_prompt=prompt, settings=NEW)
        with pytest.raises(RequestFailedError):
            bad.result()
        assert list(good.result().token_ids) == generate(model, text, new=10)
    wait_until_idle(engine)
    check_nothing_left(engine)
    answer = engine.submit(text, soft_prompt=prompt, settings=NEW).result()
    assert answer.cached_tokens == 0
    assert list(answer.token_ids) == generate(model, text, prompt, new=10)


def test_tokens_that_came_before_the_fault_are_still_handed_out(new_engine: NewEngine) -> None:
    model = build("llama")
    whole = generate(model, tokens(5), new=10)
    seen: list[int] = []
    engine = new_engine(model)
    with raising(engine, with_token=whole[4]):
        generation = engine.submit(tokens(5), settings=NEW)
        with pytest.raises(RequestFailedError):
            seen.extend(generation)
    assert seen == whole[: whole.index(whole[4]) + 1]


def test_a_soft_prompt_that_does_not_fit_fails_its_request_alone_with_its_own_error(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    config = PromptTuning(peft_type="PROMPT_TUNING", task_type="CAUSAL_LM", num_virtual_tokens=2, token_dim=48)
    too_wide = SoftPrompt(config, {"prompt_embeddings": torch.ones(2, 48)})
    good, bad = engine.submit(tokens(5), settings=NEW), engine.submit(tokens(5), soft_prompt=too_wide, settings=NEW)
    with pytest.raises(ModelMismatchError):
        bad.result()
    assert good.result().finish_reason == "length"
    assert engine.submit(tokens(5), soft_prompt=embedding_prompt(2), settings=NEW).result().finish_reason == "length"


def test_an_error_that_is_kept_keeps_no_tensors_alive(new_engine: NewEngine) -> None:
    model = build("llama")
    engine = new_engine(model)
    seen: list[weakref.ref[Tensor]] = []

    def look(_: Pass) -> None:
        large = torch.ones(5)
        seen.append(weakref.ref(large))
        try:
            raise ValueError
        except ValueError:
            raise FaultError from None

    with each_pass(engine, look):
        generation = engine.submit(tokens(5), settings=NEW)
        with pytest.raises(RequestFailedError) as caught:
            generation.result()
    gc.collect()
    assert seen
    assert seen[0]() is None
    assert isinstance(caught.value.__cause__, FaultError)
    assert "raise FaultError" in caught.value.__cause__.__notes__[0], "the traceback is there to read all the same"


class _SpeechlessError(Exception):
    def __str__(self) -> str:
        raise ValueError


def _with_a_cause_that_is_itself() -> Exception:
    error = FaultError()
    error.__cause__ = error
    return error


@pytest.mark.parametrize("fault", [_SpeechlessError, _with_a_cause_that_is_itself])
def test_an_odd_error_is_still_only_its_requests_own(fault: Fault, new_engine: NewEngine) -> None:
    """One that can't be turned into text, and one whose chain of causes never ends."""
    engine = new_engine(build("llama"))
    with raising(engine, fault, with_token=POISON), pytest.raises(RequestFailedError, match=fault().__class__.__name__):
        engine.submit([POISON], settings=NEW).result()
    assert engine.submit(tokens(5), settings=NEW).result().finish_reason == "length"


def test_if_the_engines_thread_itself_fails_everyone_is_told(new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = new_engine(build("llama"))
    long = GenerationSettings(max_new_tokens=400)

    def broken() -> None:
        raise FaultError

    monkeypatch.setattr(engine._worker, "_decode", broken)
    running: list[Generation] = [engine.submit(tokens(3), settings=long)]
    with pytest.raises(RequestFailedError) as caught:
        running[0].result()
    assert isinstance(caught.value.__cause__, FaultError)
    assert engine.closed
