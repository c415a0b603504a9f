"""The limits of a running engine: never passed, waited for, and told at once to a request that could never fit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from langchain_softprompt.decode import SPARE_COLUMNS
from langchain_softprompt.decode.merged import MergedRows
from langchain_softprompt.engine import Engine
from langchain_softprompt.engine.memory import RowBudget
from langchain_softprompt.errors import ContextLengthError, EngineBusyError
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.inside import Pass, check_nothing_left, each_pass, prefixes_of, rows_of
from tests.unit_tests.engine.tiny import build, embedding_prompt, generate, shared, tokens, wait_until, wait_until_idle

BYTES = RowBudget.of(shared("llama"), EngineLimits()).bytes_per_position


@pytest.mark.parametrize(
    "limits",
    [
        {"max_rows": 3},
        {"max_rows": 8, "max_tokens": 100},
        {"max_rows": 8, "row_cache_bytes": 500 * BYTES},
        {"max_rows": 8, "row_cache_bytes": 420 * BYTES, "max_tokens": 90, "prefix_cache_bytes": 40 * BYTES, "prefill_chunk": 5},
    ],
    ids=["rows", "tokens", "bytes", "all"],
)
def test_no_limit_is_passed_while_many_requests_run_and_all_are_answered(limits: dict[str, int], new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"), **limits)
    rows, seen = rows_of(engine), []
    assert isinstance(rows, MergedRows)

    def look(_: Pass) -> None:
        running = engine._worker._scheduler.running
        longest = max((request.size for request in running), default=0)
        read = sum(request.prefill.cache.num_bytes for request in running if request.prefill is not None)
        seen.append((len(running), len(running) * longest, rows.num_bytes + read, len(rows)))
        assert prefixes_of(engine).num_bytes <= engine.limits.prefix_cache_bytes

    sizes = [(1 + 7 * n % 40, n % 3 * 4, 2 + n % 9) for n in range(30)]
    with each_pass(engine, look):
        running = []
        for length, virtual, new in sizes:
            prompt = embedding_prompt(virtual, virtual) if virtual else None
            running.append(engine.submit(tokens(length, length), soft_prompt=prompt, settings=GenerationSettings(max_new_tokens=new)))
        answers = [list(generation.result().token_ids) for generation in running]
    for (length, virtual, new), answer in zip(sizes, answers, strict=True):
        prompt = embedding_prompt(virtual, virtual) if virtual else None
        assert answer == generate(engine.model, tokens(length, length), prompt, new=new)
    most_rows, most_tokens, most_bytes, most_held = (max(column) for column in zip(*seen, strict=True))
    assert 1 < most_rows <= engine.limits.max_rows
    assert most_held <= engine.limits.max_rows
    assert engine.limits.max_tokens is None or most_tokens <= engine.limits.max_tokens
    assert 0 < most_bytes <= engine.limits.row_cache_bytes
    wait_until_idle(engine)
    check_nothing_left(engine)


@pytest.mark.parametrize(
    ("limits", "fits"), [({"max_tokens": 50}, 50), ({"row_cache_bytes": (2 * 70 + SPARE_COLUMNS) * BYTES}, 70)], ids=["tokens", "bytes"]
)
def test_a_request_that_could_never_fit_is_refused_at_once_and_one_that_just_fits_runs(
    limits: dict[str, int], fits: int, new_engine: NewEngine
) -> None:
    engine, prompt = new_engine(shared("llama"), **limits), embedding_prompt(5)
    settings = GenerationSettings(max_new_tokens=10)
    with pytest.raises(ContextLengthError, match=f"come to {fits + 1} positions.*{next(iter(limits))}"):
        engine.submit(tokens(fits - 14), soft_prompt=prompt, settings=settings)
    assert engine.load.running + engine.load.waiting == 0
    result = engine.submit(tokens(fits - 15), soft_prompt=prompt, settings=settings).result()
    assert list(result.token_ids) == generate(engine.model, tokens(fits - 15), prompt, new=10)


def test_prompts_that_are_read_count_as_memory_of_running_rows(new_engine: NewEngine) -> None:
    """Long prompts and short answers, many at once: all that is alive in caches between two passes, in bytes."""
    length, new, rows_that_fit = 300, 10, 4
    budget = (rows_that_fit * (length + new + SPARE_COLUMNS) + length + new) * BYTES
    engine = new_engine(build("llama"), max_rows=16, row_cache_bytes=budget, prefix_cache_bytes=0, prefill_chunk=2000)
    rows, most = rows_of(engine), 0
    assert isinstance(rows, MergedRows)

    def look(_: Pass) -> None:
        nonlocal most
        running = engine._worker._scheduler.running
        most = max(most, rows.num_bytes + sum(one.prefill.cache.num_bytes for one in running if one.prefill is not None))

    with each_pass(engine, look):
        running = [engine.submit(tokens(length, n), settings=GenerationSettings(max_new_tokens=new)) for n in range(12)]
        answers = [list(generation.result().token_ids) for generation in running]
    assert answers == [generate(engine.model, tokens(length, n), new=new) for n in range(12)]
    assert budget / 2 < most <= budget


def test_native_caches_count_as_memory_too(new_engine: NewEngine) -> None:
    model = build("lfm2")
    budget = RowBudget.of(model, EngineLimits())
    assert budget.bytes_per_row
    assert budget.bytes_per_position
    size = 30 + 5
    limit = 2 * (budget.bytes_per_row + size * budget.bytes_per_position)
    engine = new_engine(model, max_rows=8, row_cache_bytes=limit)
    most = 0

    def look(_: Pass) -> None:
        nonlocal most
        most = max(most, engine.load.running)

    with each_pass(engine, look):
        running = [engine.submit(tokens(30, n), settings=GenerationSettings(max_new_tokens=5)) for n in range(6)]
        answers = [list(generation.result().token_ids) for generation in running]
    assert most == 2
    assert answers == [generate(model, tokens(30, n), new=5) for n in range(6)]
    with pytest.raises(ContextLengthError, match="row_cache_bytes"):
        engine.submit(tokens(200), settings=GenerationSettings(max_new_tokens=5))


def test_a_queue_behind_a_limit_of_tokens_is_as_short_as_one_behind_rows(new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"), max_rows=16, max_queue=2, max_tokens=100)
    may_go_on = threading.Event()
    with each_pass(engine, lambda _: may_go_on.wait()):
        taken = [engine.submit(tokens(80, n), settings=GenerationSettings(max_new_tokens=10)) for n in range(3)]
        with pytest.raises(EngineBusyError, match=r"max_queue=2"):
            engine.submit(tokens(80), settings=GenerationSettings(max_new_tokens=10))
        may_go_on.set()
        for generation in taken:
            generation.result()


def test_a_large_request_that_waits_for_room_is_not_overtaken_by_small_ones_that_would_fit(new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"), max_rows=4, max_tokens=200)
    order: list[str] = []
    all_submitted = threading.Event()
    names = {9: "first", 10: "large", 11: "small", 12: "small"}

    def look(one: Pass) -> None:
        all_submitted.wait()
        if not one.is_step:
            order.extend(names[token] for token in names if token in one.tokens)

    with each_pass(engine, look):
        first = engine.submit([9], settings=GenerationSettings(max_new_tokens=60))
        large = engine.submit([10], settings=GenerationSettings(max_new_tokens=150))
        small = [engine.submit([token], settings=GenerationSettings(max_new_tokens=5)) for token in (11, 12)]
        all_submitted.set()
        for generation in (*small, large, first):
            generation.result()
    assert order == ["first", "large", "small", "small"]


def test_a_full_queue_refuses_from_every_thread_and_what_was_taken_is_answered(new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"), max_rows=2, max_queue=3)
    may_go_on = threading.Event()

    def ask(engine: Engine = engine) -> list[int] | None:
        try:
            generation = engine.submit(tokens(3), settings=GenerationSettings(max_new_tokens=4))
        except EngineBusyError:
            return None
        return list(generation.result().token_ids)

    with each_pass(engine, lambda _: may_go_on.wait()), ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(ask) for _ in range(12)]
        wait_until(lambda: sum(one.done() for one in asked) == 12 - 5)
        may_go_on.set()
        answers = [one.result() for one in asked]
    assert answers.count(None) == 7
    assert answers.count(generate(engine.model, tokens(3), new=4)) == 5
