"""Memory runs out while rows are laid out, taken in or remembered: who is served already does not notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from langchain_softprompt.decode import StepOutcome
from langchain_softprompt.decode.merged import SPARE_COLUMNS, MergedRows
from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.frozen_model.columns import ColumnCache, ColumnLayer
from langchain_softprompt.prefix import KVPrefix, PrefixStore
from langchain_softprompt.settings import GenerationSettings
from tests.reading import prefill
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.inside import OUT_OF_MEMORY, check_nothing_left, check_store, failing, only_call, prefixes_of, rows_of
from tests.unit_tests.engine.tiny import LAYERS, build, embedding_prompt, generate, shared, tokens, wait_until, wait_until_idle

NEW = GenerationSettings(max_new_tokens=10)
no_memory = OUT_OF_MEMORY["cpu"]
each_kind = pytest.mark.parametrize("fault", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)

Fault = Callable[[], Exception]


def _store(lengths: dict[int, int]) -> MergedRows:
    store = MergedRows(shared("llama"), max_rows=4)
    for row, length in lengths.items():
        _add(store, row, length)
    return store


def _add(store: MergedRows, row: int, length: int, needed: int | None = None) -> None:
    cache, _ = prefill(shared("llama"), None, tokens(length, row))
    store.add(row, cache, length, needed)


@pytest.mark.parametrize("place", range(LAYERS))
@pytest.mark.parametrize("needed", [None, 400], ids=["more rows", "longer rows"])
@torch.inference_mode()
def test_when_memory_runs_out_in_the_middle_of_laying_out_anew_the_rows_are_as_they_were(place: int, needed: int | None) -> None:
    """The new buffers of some layer can't be had, when the layers before it were moved already."""
    undisturbed, store = _store({0: 5, 1: 30}), _store({0: 5, 1: 30})
    cache, _ = prefill(shared("llama"), None, tokens(40, 2))
    with failing(ColumnLayer, "lazy_initialization", no_memory, when=only_call(place)), pytest.raises(RuntimeError):
        store.add(2, cache, 40, needed)
    assert len(store) == 2
    assert store.num_bytes == undisturbed.num_bytes
    for token in (3, 4):
        _check_equal(store.step({0: token, 1: token + 1}), undisturbed.step({0: token, 1: token + 1}))
    for one in (store, undisturbed):
        _add(one, 2, 40, needed)
    _check_equal(store.step({0: 1, 1: 2, 2: 3}), undisturbed.step({0: 1, 1: 2, 2: 3}))


def _check_equal(one: StepOutcome, other: StepOutcome) -> None:
    assert not one.failed
    for (rows, logits), (same_rows, same_logits) in zip(one.answered, other.answered, strict=True):
        assert rows == same_rows
        assert torch.equal(logits, same_logits)


@torch.inference_mode()
def test_when_not_even_the_old_layout_can_be_had_again_the_next_step_says_so_of_each_row() -> None:
    store = _store({0: 5, 1: 30})
    cache, _ = prefill(shared("llama"), None, tokens(40, 2))
    with failing(ColumnLayer, "lazy_initialization", no_memory, when=_after_first()), pytest.raises(RuntimeError):
        store.add(2, cache, 40)
    assert (len(store), store.num_bytes) == (0, 0)
    _add(store, 3, 7)
    outcome = store.step({0: 1, 1: 1, 3: 5})
    assert {row: type(error) for row, error in outcome.failed.items()} == {0: RuntimeError, 1: RuntimeError}
    assert [rows for rows, _ in outcome.answered] == [[3]]
    assert not store.step({3: 5}).failed


@torch.inference_mode()
def test_a_first_row_that_finds_no_memory_leaves_none_behind() -> None:
    store = _store({})
    cache, _ = prefill(shared("llama"), None, tokens(5))
    with failing(ColumnLayer, "lazy_initialization", no_memory, when=only_call(LAYERS - 1)), pytest.raises(RuntimeError):
        store.add(0, cache, 5)
    assert (len(store), store.num_bytes) == (0, 0)
    assert store.step({}) == StepOutcome()


def _after_first() -> Callable[..., bool]:
    first = only_call(0)
    return lambda *_, **__: not first()


@each_kind
def test_a_request_that_there_is_no_memory_to_take_in_fails_alone(fault: Fault, new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"))
    long = GenerationSettings(max_new_tokens=300)
    running = [engine.submit(tokens(5, seed), settings=long) for seed in range(2)]
    wait_until(lambda: all(generation.tokens for generation in running))

    def of_rows(layer: ColumnLayer, *_: Any) -> bool:
        return layer._slots > 2  # a third row needs more slots

    with failing(ColumnLayer, "lazy_initialization", fault, when=of_rows) as raised, pytest.raises(RequestFailedError) as caught:
        engine.submit(tokens(5, 2), settings=long).result()
    assert raised
    assert type(caught.value.__cause__) is type(fault())
    for seed, generation in enumerate(running):
        assert list(generation.result().token_ids) == generate(engine.model, tokens(5, seed), new=300)
    wait_until_idle(engine)
    check_nothing_left(engine)


def test_rows_that_were_lost_fail_and_the_engine_goes_on(new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"))
    long = GenerationSettings(max_new_tokens=300)
    running = [engine.submit(tokens(5, seed), settings=long) for seed in range(2)]
    wait_until(lambda: all(generation.tokens for generation in running))
    moved: list[int] = []

    def once_moved(layer: ColumnLayer, *_: Any) -> bool:
        if layer._slots == 1:  # a prompt's own cache
            return False
        moved.append(1)
        return len(moved) > 1

    with failing(ColumnLayer, "lazy_initialization", no_memory, when=once_moved):
        running.append(engine.submit(tokens(5, 2), settings=long))
        for generation in running:
            with pytest.raises(RequestFailedError, match="can't allocate memory"):
                generation.result()
    wait_until_idle(engine)
    check_nothing_left(engine)
    assert list(engine.submit(tokens(5), settings=NEW).result().token_ids) == generate(engine.model, tokens(5), new=10)


@each_kind
def test_a_row_that_can_not_be_moved_into_a_gap_fails_and_the_others_go_on(fault: Fault, new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"))
    lengths = (6, 40, 45)  # no two end in one step, not even where the first is done before the others come
    tried: list[int] = []

    def first_move(cache: ColumnCache, other: ColumnCache, *_: Any) -> bool:
        if other is not cache:
            return False
        tried.append(1)
        return len(tried) == 1

    with failing(ColumnCache, "copy_columns", fault, when=first_move) as raised:
        running = [engine.submit(tokens(5, seed), settings=GenerationSettings(max_new_tokens=new)) for seed, new in enumerate(lengths)]
        found: list[list[int] | None] = []
        for generation in running:
            try:
                found.append(list(generation.result().token_ids))
            except RequestFailedError:
                found.append(None)
    assert raised == [1]
    expected = [generate(engine.model, tokens(5, seed), new=new) for seed, new in enumerate(lengths)]
    assert found[0] == expected[0]
    assert found.count(None) == 1, "the row that should have moved"
    assert all(answer in (None, right) for answer, right in zip(found, expected, strict=True))
    wait_until_idle(engine)
    check_nothing_left(engine)
    assert list(engine.submit(tokens(5), settings=NEW).result().token_ids) == generate(engine.model, tokens(5), new=10)


@each_kind
def test_when_there_is_no_memory_to_go_on_all_rows_fail_and_the_engine_goes_on(fault: Fault, new_engine: NewEngine) -> None:
    """The spare columns are used up, and the same room elsewhere can't be had: every row is concerned."""
    engine = new_engine(build("llama"))
    long = GenerationSettings(max_new_tokens=SPARE_COLUMNS + 50)
    with failing(rows_of(engine), "_lay_out", fault, when=lambda *_, longest=None: longest is None) as raised:
        running = [engine.submit(tokens(5, seed), settings=long) for seed in range(2)]
        for _ in running:
            engine.submit(tokens(150), settings=NEW)  # makes the rows' columns move to the right
        for seed, generation in enumerate(running):
            with pytest.raises(RequestFailedError):
                generation.result()
            expected = generate(engine.model, tokens(5, seed), new=SPARE_COLUMNS + 50)
            assert list(generation.tokens) == expected[: len(generation.tokens)]
    assert raised
    wait_until_idle(engine)
    check_nothing_left(engine)
    assert list(engine.submit(tokens(5), settings=NEW).result().token_ids) == generate(engine.model, tokens(5), new=10)


@each_kind
@pytest.mark.parametrize("method", ["_add", "_split", "keep"])
def test_what_can_not_be_remembered_is_answered_all_the_same(method: str, fault: Fault, new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"))
    head, prompt = tokens(30), embedding_prompt(4)
    texts = [[*head, *tokens(20, seed)] for seed in (1, 2, 3)]
    assert engine.submit(texts[0], soft_prompt=prompt, settings=NEW).result()
    with failing(prefixes_of(engine), method, fault) as raised:
        answer = engine.submit(texts[1], soft_prompt=prompt, settings=NEW).result()
    assert raised
    assert list(answer.token_ids) == generate(engine.model, texts[1], prompt, new=10)
    again = engine.submit(texts[2], soft_prompt=prompt, settings=NEW).result()
    assert list(again.token_ids) == generate(engine.model, texts[2], prompt, new=10)
    assert again.cached_tokens == len(head) + prompt.num_virtual_tokens
    wait_until_idle(engine)
    check_nothing_left(engine)


@pytest.mark.parametrize("copy", range(6))
def test_a_store_in_which_a_copy_fails_is_whole_and_finds_what_it_found_before(copy: int) -> None:
    """Whichever of the copies that remembering makes it is: those of a run cut in two, or that of a new run."""
    store, head = PrefixStore(shared("llama"), 1 << 20), tokens(30)
    texts = [[*head, *tokens(20, seed)] for seed in (1, 2)]
    _keep(store, texts[0])
    before = store.num_bytes
    with failing(KVPrefix, "copied", no_memory, when=only_call(copy)) as raised:
        if copy < 3:
            with pytest.raises(RuntimeError):
                _keep(store, texts[1])
        else:
            _keep(store, texts[1])
    assert len(raised) == (copy < 3)
    check_store(store)
    assert store.find(None, [*texts[0], 1]).text_tokens == 50
    assert store.num_bytes >= before
    _keep(store, texts[1])
    check_store(store)
    assert store.find(None, [*texts[1], 1]).text_tokens == 50


def _keep(store: PrefixStore, text: list[int]) -> None:
    heads, dim = shared("llama").key_value_shapes[0][:2]

    def part(start: int, end: int) -> KVPrefix:
        return KVPrefix(end - start, ((torch.ones(heads, end - start, dim), torch.ones(heads, end - start, dim)),) * LAYERS)

    store.keep(None, text, soft=None, text=part)


@each_kind
def test_a_compiled_soft_prompt_that_there_is_no_memory_to_keep_still_serves_its_request(fault: Fault, new_engine: NewEngine) -> None:
    engine = new_engine(build("llama"))
    prompt, text = embedding_prompt(6), tokens(40)
    with failing(KVPrefix, "copied", fault) as raised:
        answers = [engine.submit(text, soft_prompt=prompt, settings=NEW).result() for _ in range(2)]
    assert raised
    assert [list(answer.token_ids) for answer in answers] == [generate(engine.model, text, prompt, new=10)] * 2
    assert [answer.cached_tokens for answer in answers] == [0, 0]
    wait_until_idle(engine)
    check_nothing_left(engine)


def test_a_store_in_which_two_pieces_can_not_be_joined_again_is_whole() -> None:
    """A text that left a head is let go; to make one piece of the rest takes memory for a moment."""
    head = tokens(30)
    texts = [[*head, *tokens(20, seed)] for seed in (1, 2)]
    whole = PrefixStore(shared("llama"), 1 << 20)
    _keep(whole, texts[0])
    store = PrefixStore(shared("llama"), whole.num_bytes * 70 // 50)  # room for both texts, no more
    for text in texts:
        _keep(store, text)
    with failing(KVPrefix, "joined", no_memory) as raised, pytest.raises(RuntimeError):
        _keep(store, tokens(20, 9))
    assert raised
    check_store(store)
    assert store.find(None, [*texts[1], 1]).text_tokens == 50
    _keep(store, tokens(20, 9))
    check_store(store)
    assert store.find(None, [*tokens(20, 9), 1]).text_tokens == 20
