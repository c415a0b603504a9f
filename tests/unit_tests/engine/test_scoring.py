"""Given continuations get the log-probabilities of transformers' plain forward, in any company, within the limits."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_softprompt.decode import SPARE_COLUMNS
from langchain_softprompt.engine import Engine, Generation, Scoring
from langchain_softprompt.engine.memory import RowBudget
from langchain_softprompt.errors import (
    ContextLengthError,
    EngineBusyError,
    EngineClosedError,
    RequestCancelledError,
    RequestError,
    RequestFailedError,
)
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.inside import FAULTS, Pass, check_nothing_left, each_pass, failing, prefixes_of, replaced, rows_of
from tests.unit_tests.engine.reads import counted_reads
from tests.unit_tests.engine.scored import LABELS, Tokens, check_scores
from tests.unit_tests.engine.tiny import (
    MERGED,
    SEPARATE,
    VOCAB,
    build,
    embedding_prompt,
    generate,
    key_value_prompt,
    shared,
    tokens,
    wait_until_idle,
)

NEW = GenerationSettings(max_new_tokens=20)
MANY = [(7 + n // 9, 30 + n % 9, 50 + n % 4, 5) for n in range(77)]


def _soft_prompts(model: FrozenModel) -> list[SoftPrompt | None]:
    kinds: list[SoftPrompt | None] = [None, embedding_prompt(11, 2)]
    return [*kinds, key_value_prompt(model, 6, 3)] if model.reuses_prefix else kinds


def _in_turn(model: FrozenModel) -> FrozenModel:
    """The same model, as if it could not be shown a tree."""
    model.__dict__["reads_branches"] = False
    return model


@pytest.mark.parametrize("chunk", [256, 4])
@pytest.mark.parametrize("family", [*MERGED, *SEPARATE])
def test_scores_are_those_of_a_plain_forward_over_prompt_and_continuation(family: str, chunk: int, new_engine: NewEngine) -> None:
    """Alone, with soft prompts of both kinds and none, past the sliding window, in large parts and in small ones."""
    model = shared(family)
    assert model.reads_branches == (family in MERGED)
    engine = new_engine(model, prefill_chunk=chunk)
    for prompt in _soft_prompts(model):
        for length in (1, 25):
            ids = tokens(length, length)
            check_scores(engine.score(ids, LABELS, soft_prompt=prompt).result(), model, ids, LABELS, prompt)
    wait_until_idle(engine)
    check_nothing_left(engine)


@pytest.mark.parametrize("chunk", [256, 4])
@pytest.mark.parametrize("family", MERGED)
def test_a_model_that_can_not_be_shown_a_tree_gives_the_same_scores_branch_by_branch(
    family: str, chunk: int, new_engine: NewEngine
) -> None:
    model = _in_turn(build(family))
    engine = new_engine(model, prefill_chunk=chunk)
    for prompt in _soft_prompts(model):
        check_scores(engine.score(tokens(9), LABELS, soft_prompt=prompt).result(), model, tokens(9), LABELS, prompt)


@pytest.mark.parametrize(("family", "chunk"), [("llama", 256), ("llama", 6), ("gpt2", 6), ("lfm2", 6)])
def test_scores_and_answers_in_one_engine_are_each_what_they_are_alone(family: str, chunk: int, new_engine: NewEngine) -> None:
    model = shared(family)
    engine = new_engine(model, prefill_chunk=chunk, max_rows=7)
    asked = [(tokens(length, length), prompt) for length in (1, 7, 20) for prompt in _soft_prompts(model)]
    running: list[tuple[object, Scoring]] = []
    for ids, prompt in asked:
        answer = engine.submit(ids, soft_prompt=prompt, settings=NEW)
        running.append((answer, engine.score(ids, LABELS, soft_prompt=prompt)))
    for (ids, prompt), (answer, scoring) in zip(asked, running, strict=True):
        check_scores(scoring.result(), model, ids, LABELS, prompt)
        assert list(answer.result().token_ids) == generate(model, ids, prompt, new=20)  # type: ignore[attr-defined]
    wait_until_idle(engine)
    check_nothing_left(engine)


_LABEL_SETS = st.lists(st.lists(st.sampled_from([7, 8, 9, 50, 95]), min_size=1, max_size=6).map(tuple), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(
    labels=_LABEL_SETS, length=st.integers(1, 12), chunk=st.sampled_from([1, 3, 200]), family=st.sampled_from(["llama", "in turn", "lfm2"])
)
def test_any_labels_get_the_scores_of_a_plain_forward(labels: list[Tokens], length: int, chunk: int, family: str) -> None:
    """One a prefix of another, equal ones, single tokens, any order."""
    model = _TURNING if family == "in turn" else shared(family)
    with Engine(model, EngineLimits(prefill_chunk=chunk)) as engine:
        check_scores(engine.score(tokens(length, length), labels).result(), model, tokens(length, length), labels)


_TURNING = _in_turn(build("llama"))


def test_probabilities_of_all_single_tokens_come_to_one(new_engine: NewEngine) -> None:
    result = new_engine(shared("llama")).score(tokens(5), [[token] for token in range(VOCAB)]).result()
    assert torch.tensor(result.totals).exp().sum().item() == pytest.approx(1)


def test_greedy_decoding_writes_the_token_with_the_best_score(new_engine: NewEngine) -> None:
    engine = new_engine(shared("mistral"))
    totals = engine.score(tokens(30), [[token] for token in range(VOCAB)]).result().totals
    assert [totals.index(max(totals))] == generate(engine.model, tokens(30), new=1)


def test_what_labels_share_is_read_once_and_what_nothing_follows_never(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    inner = {label[:end] for label in MANY for end in range(1, len(label))}
    with counted_reads(engine.model) as reads:
        engine.score(tokens(10), MANY).result()
    assert reads.positions == 10 + len(inner)
    assert len(inner) < 77 * 4 / 1.5


def test_hundreds_of_labels_are_one_pass_after_the_prompt(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    assert engine.model.reads_branches  # tried now, not between the passes that are counted
    passes: list[Pass] = []
    with each_pass(engine, passes.append):
        engine.score(tokens(10), MANY).result()
    assert len(passes) == 2


def test_a_head_that_was_read_before_is_not_read_again_and_counts_as_cached(new_engine: NewEngine) -> None:
    engine, prompt = new_engine(shared("llama")), embedding_prompt(5)
    first = engine.score(tokens(40), LABELS, soft_prompt=prompt).result()
    again = engine.score([*tokens(40), 3], LABELS, soft_prompt=prompt).result()
    assert (first.cached_tokens, again.cached_tokens) == (0, 45)
    check_scores(again, engine.model, [*tokens(40), 3], LABELS, prompt)
    answer = engine.submit([*tokens(40), 4], soft_prompt=prompt, settings=NEW).result()
    assert answer.cached_tokens == 45
    assert list(answer.token_ids) == generate(engine.model, [*tokens(40), 4], prompt, new=20)


def test_no_pass_is_longer_than_the_chunk_so_that_running_rows_go_on_between(new_engine: NewEngine) -> None:
    """A row that is being answered takes a step between any two parts of the labels."""
    engine = new_engine(build("llama"), prefill_chunk=16)
    assert engine.model.reads_branches
    kinds: list[bool] = []
    there = threading.Event()

    def look(one: Pass) -> None:
        there.wait()
        assert one.is_step or one.length <= 16
        kinds.append(one.is_step)

    with each_pass(engine, look):
        answer = engine.submit(tokens(4), settings=GenerationSettings(max_new_tokens=60))
        scoring = engine.score(tokens(4, 1), MANY)
        there.set()
        check_scores(scoring.result(), engine.model, tokens(4, 1), MANY)
        answer.result()
    parts = [place for place, is_step in enumerate(kinds) if not is_step]
    assert len(parts) > 7
    assert all(later - earlier == 2 for earlier, later in itertools.pairwise(parts[1:]))


@pytest.mark.parametrize("family", ["llama", "in turn", "lfm2"])
def test_no_limit_of_memory_is_passed_while_scores_and_answers_run(family: str, new_engine: NewEngine) -> None:
    model = _in_turn(build("llama")) if family == "in turn" else build(family)
    limits = {"max_rows": 8, "row_cache_bytes": 48_000 if family == "lfm2" else 150_000, "prefill_chunk": 24, "prefix_cache_bytes": 0}
    engine = new_engine(model, **limits)
    rows, most = rows_of(engine), [0]

    def look(_: Pass) -> None:
        held = getattr(rows, "num_bytes", 0)
        for request in engine._worker._scheduler.running:
            for cache in (request.prefill and request.prefill.cache, *_caches(request.continuing)):
                held += _bytes(cache)
        if family == "lfm2":
            held += sum(_bytes(row.cache) for row in rows._rows.values())  # type: ignore[attr-defined]
        most.append(held)

    with each_pass(engine, look):
        running = []
        for n in range(24):
            ids = tokens(1 + 7 * n % 40, n)
            running.append((ids, engine.score(ids, LABELS), engine.submit(ids, settings=NEW)))
        for ids, scoring, answer in running:
            check_scores(scoring.result(), model, ids, LABELS)
            assert list(answer.result().token_ids) == generate(model, ids, new=20)
    assert limits["row_cache_bytes"] / 4 < max(most) <= limits["row_cache_bytes"]
    wait_until_idle(engine)
    check_nothing_left(engine)


@pytest.mark.parametrize("chunk", [2000, 70])
@pytest.mark.parametrize("kind", ["scores", "answers"])
def test_prompts_that_come_as_others_leave_wait_for_the_memory_that_is_still_laid_out(kind: str, chunk: int, new_engine: NewEngine) -> None:
    """Four rows are laid out; when two of them end in one step, the next two prompts may not be read side by side."""
    model, length = build("llama"), 200
    size = length + 20
    budget = (4 * (size + SPARE_COLUMNS) + size) * RowBudget.of(model, EngineLimits()).bytes_per_position
    engine = new_engine(model, row_cache_bytes=budget, prefix_cache_bytes=0, prefill_chunk=chunk)
    rows, most, there = rows_of(engine), [0], threading.Event()

    def look(_: Pass) -> None:
        there.wait()
        reading = [request for request in engine._worker._scheduler.running if request.reading is not None]
        caches = [cache for request in reading for cache in (request.prefill and request.prefill.cache, *_caches(request.continuing))]
        most.append(rows.num_bytes + sum(map(_bytes, caches)))  # type: ignore[attr-defined]

    labels = [(1, 2, 5), (1, 3, 5), (4,)]
    with each_pass(engine, look):
        first = [engine.submit(tokens(length, n), settings=GenerationSettings(max_new_tokens=20 if n < 2 else 8)) for n in range(4)]
        then: list[Scoring | Generation] = [
            engine.score(tokens(length, n), labels) if kind == "scores" else engine.submit(tokens(length, n), settings=NEW)
            for n in range(4, 8)
        ]
        there.set()
        for n, answer in enumerate(first):
            assert list(answer.result().token_ids) == generate(model, tokens(length, n), new=20 if n < 2 else 8)
        for n, other in enumerate(then, start=4):
            if isinstance(other, Scoring):
                check_scores(other.result(), model, tokens(length, n), labels)
            else:
                assert list(other.result().token_ids) == generate(model, tokens(length, n), new=20)
    assert budget / 2 < max(most) <= budget


def test_more_labels_than_would_fit_the_memory_at_once_are_scored_part_by_part(new_engine: NewEngine) -> None:
    model, ids = build("llama"), tokens(20)
    labels = [(first, second, third, 5) for first in range(8) for second in range(8) for third in range(4)]
    budget = (2 * (20 + 4 + 8) + SPARE_COLUMNS) * RowBudget.of(model, EngineLimits()).bytes_per_position
    engine = new_engine(model, row_cache_bytes=budget, prefill_chunk=8)
    check_scores(engine.score(ids, labels).result(), model, ids, labels)
    with pytest.raises(ContextLengthError, match="row_cache_bytes"):
        engine.score(tokens(21), labels)


def test_the_copies_that_native_caches_need_are_counted(new_engine: NewEngine) -> None:
    """Eight requests at once whose branches are all read in the same turns, where there is room for the caches of two."""
    model = build("lfm2")
    budget, ids, labels = RowBudget.of(model, EngineLimits()), tokens(40), [(1, 2, 5), (1, 3, 5), (4, 5)]
    size = len(ids) + 3
    limit = 5 * ((budget.bytes_per_row or 0) + size * budget.bytes_per_position)
    engine = new_engine(model, row_cache_bytes=limit, prefix_cache_bytes=0)
    most, running_together = [0], [0]

    def look(_: Pass) -> None:
        running = engine._worker._scheduler.running
        running_together.append(len(running))
        most.append(sum(_bytes(cache) for one in running for cache in (one.prefill and one.prefill.cache, *_caches(one.continuing))))

    with each_pass(engine, look):
        for scoring in [engine.score(ids, labels) for _ in range(8)]:
            check_scores(scoring.result(), model, ids, labels)
    assert max(running_together) == 2
    assert limit / 2 < max(most) <= limit


def _caches(continuing: object) -> list[object]:
    return [] if continuing is None else [continuing._cache, getattr(continuing, "_copy", None)]  # type: ignore[attr-defined]


def _bytes(cache: object) -> int:
    from langchain_softprompt.frozen_model.columns import ColumnCache
    from langchain_softprompt.prefix import cache_tensors

    if cache is None:
        return 0
    return cache.num_bytes if isinstance(cache, ColumnCache) else sum(tensor.nbytes for tensor in cache_tensors(cache))


def test_a_cancelled_request_for_scores_says_so_and_leaves_nothing_behind(new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"), prefill_chunk=8)
    assert engine.model.reads_branches
    running: list[Scoring] = []
    there = threading.Event()
    read: list[int] = []

    def look(one: Pass) -> None:
        there.wait()
        read.append(one.length)
        if len(read) == 3:
            running[0].cancel()

    with each_pass(engine, look):
        running.append(engine.score(tokens(4), MANY))
        there.set()
        with pytest.raises(RequestCancelledError):
            running[0].result()
        wait_until_idle(engine)
    assert len(read) == 3
    check_nothing_left(engine)


def test_a_request_for_scores_that_waits_can_be_cancelled_and_a_closed_engine_ends_it(new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"), max_rows=1)
    busy = engine.submit(tokens(3), settings=GenerationSettings(max_new_tokens=400))
    first, second = engine.score(tokens(4), LABELS), engine.score(tokens(4), LABELS)
    first.cancel()
    assert first.done
    assert not busy.done
    engine.close()
    for scoring in (first, second):
        with pytest.raises(RequestCancelledError):
            scoring.result()
    with pytest.raises(EngineClosedError):
        engine.score(tokens(4), LABELS)


async def test_scores_are_awaited_without_a_thread_and_by_several_at_once(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    scoring = engine.score(tokens(6), LABELS)
    before = threading.active_count()
    one, other = await asyncio.gather(scoring.wait(), scoring.wait())
    assert threading.active_count() == before
    assert one == other == scoring.result()


def test_many_threads_get_their_own_scores(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"), max_rows=4)
    found: dict[int, Scoring] = {}

    def ask(number: int) -> None:
        found[number] = engine.score(tokens(number + 1, number), LABELS)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, scoring in found.items():
        check_scores(scoring.result(), engine.model, tokens(number + 1, number), LABELS)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("when", ["the prompt", "the labels"])
def test_a_fault_fails_that_request_alone(when: str, fault: object, new_engine: NewEngine) -> None:
    model = build("llama")
    engine = new_engine(model)
    assert model.reads_branches
    poison = 13

    def look(one: Pass) -> None:
        if poison in one.tokens:
            raise fault()  # type: ignore[operator]

    prompt, label = ([1, poison], (7, 8, 9)) if when == "the prompt" else ([1, 2], (7, poison, 9))
    with each_pass(engine, look):
        wrong = engine.score(prompt, [label, (7, 8)])
        right = [engine.score(_without(poison, n), LABELS[:3]) for n in range(4)]
        answers = [engine.submit(_without(poison, n), settings=GenerationSettings(max_new_tokens=1)) for n in range(4)]
        with pytest.raises(RequestFailedError) as caught:
            wrong.result()
        assert type(caught.value.__cause__) is type(fault())  # type: ignore[operator]
        for n, (scoring, answer) in enumerate(zip(right, answers, strict=True)):
            labels = [tuple(token for token in label if token != poison) for label in LABELS[:3]]
            if labels == list(LABELS[:3]):
                check_scores(scoring.result(), model, _without(poison, n), labels)
            assert list(answer.result().token_ids) == generate(model, _without(poison, n), new=1)
    wait_until_idle(engine)
    check_nothing_left(engine)


def _without(token: int, seed: int) -> list[int]:
    return [1 if one == token else one for one in tokens(5, seed)]


def test_want_of_memory_for_a_native_copy_fails_that_request_alone(new_engine: NewEngine) -> None:
    from langchain_softprompt.decode import continuing

    engine = new_engine(build("lfm2"))
    with failing(continuing.copy, "deepcopy", MemoryError):
        scoring = engine.score(tokens(5), LABELS)
        with pytest.raises(RequestFailedError, match="MemoryError"):
            scoring.result()
    check_scores(engine.score(tokens(5), LABELS).result(), engine.model, tokens(5), LABELS)


def test_logits_that_are_not_finite_fail_the_request_in_words(new_engine: NewEngine) -> None:
    model = build("llama")
    engine = new_engine(model)

    def spoiled(read: object) -> object:
        return lambda parts: [None if one is None else one * float("nan") for one in read(parts)]  # type: ignore[operator]

    with replaced(model.passes, "read", spoiled):  # type: ignore[arg-type]
        scoring = engine.score(tokens(3), LABELS)
        with pytest.raises(RequestFailedError, match="NaN or infinity"):
            scoring.result()
    check_scores(engine.score(tokens(3), LABELS).result(), model, tokens(3), LABELS)
    assert prefixes_of(engine).num_bytes < 10**6


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([], "no continuations"),
        ([[1], []], "Continuation 1: .*no tokens"),
        ([[1, VOCAB]], f"Continuation 0: .*token id {VOCAB}"),
        ([[1, "a"]], "Continuation 0: .*integers"),
        ([3], "Continuation 0: "),
    ],
)
def test_labels_that_can_not_be_scored_are_refused_at_once(labels: list[list[int]], sentence: str, new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    with pytest.raises(RequestError, match=sentence):
        engine.score(tokens(3), labels)
    assert engine.load.running + engine.load.waiting == 0


def test_a_label_too_long_for_the_context_or_the_limits_is_refused_at_once_and_one_that_just_fits_is_scored(new_engine: NewEngine) -> None:
    model = shared("llama")
    engine, prompt = new_engine(model), embedding_prompt(5)
    with pytest.raises(ContextLengthError, match=r"3 prompt tokens \+ 505 tokens of the longest continuation = 513.*Shorten the text"):
        engine.score(tokens(3), [[1], tokens(505)], soft_prompt=prompt)
    check_scores(engine.score(tokens(3), [tokens(504)], soft_prompt=prompt).result(), model, tokens(3), [tokens(504)], prompt)
    small = new_engine(model, max_tokens=20)
    with pytest.raises(ContextLengthError, match="max_tokens=20"):
        small.score(tokens(3), [tokens(19)])
    check_scores(small.score(tokens(3), [tokens(15)]).result(), model, tokens(3), [tokens(15)])
    native = new_engine(shared("lfm2"), max_tokens=36)
    with pytest.raises(ContextLengthError, match=r"come to 38 positions.*max_tokens=36"):
        native.score(tokens(3), [tokens(16)])
    check_scores(native.score(tokens(3), [tokens(15)]).result(), native.model, tokens(3), [tokens(15)])


def test_a_full_queue_is_told_at_once(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"), max_rows=1, max_queue=1)
    engine.submit(tokens(3), settings=GenerationSettings(max_new_tokens=400))
    engine.score(tokens(3), LABELS)
    with pytest.raises(EngineBusyError):
        engine.score(tokens(3), LABELS)


def test_a_request_for_scores_on_native_caches_takes_two_rows_and_still_runs_where_there_is_one(new_engine: NewEngine) -> None:
    engine = new_engine(shared("lfm2"), max_rows=1)
    running = [engine.score(tokens(n + 1, n), LABELS) for n in range(3)]
    for n, scoring in enumerate(running):
        check_scores(scoring.result(), engine.model, tokens(n + 1, n), LABELS)
