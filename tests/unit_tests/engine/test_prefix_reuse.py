"""Prefix reuse: what requests share is read once, nothing else is shared, the counts are true and the answers stay exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_softprompt.engine import Engine, GenerationResult
from langchain_softprompt.errors import ModelMismatchError, NonFiniteSoftPromptError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix.store import SHORTEST_RUN
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.reads import counted_reads
from tests.unit_tests.engine.tiny import MERGED, SEPARATE, build, embedding_prompt, generate, key_value_prompt, shared, tokens

# Three that part at their first token.
QUESTIONS = [[first, *tokens(20, first)] for first in (1, 2, 3)]
HEAD = tokens(60, 9)
POSITION = 2 * 2 * 2 * 8 * 4  # bytes of a position of the tiny Llama: layers, keys and values, heads, their size, float32


def ask(engine: Engine, token_ids: Sequence[int], soft_prompt: SoftPrompt | None = None, *, new: int = 1) -> GenerationResult:
    return engine.submit(token_ids, soft_prompt=soft_prompt, settings=GenerationSettings(max_new_tokens=new)).result()


def read_for(engine: Engine, token_ids: Sequence[int], soft_prompt: SoftPrompt | None = None) -> tuple[int, int]:
    """How many positions a request says it did not read, and how many it read."""
    with counted_reads(engine.model) as reads:
        result = ask(engine, token_ids, soft_prompt)
    return result.cached_tokens, reads.positions


def kept_bytes(engine: Engine) -> int:
    return engine._worker._reader.prefixes.num_bytes


def _prompts(model: FrozenModel) -> list[SoftPrompt | None]:
    return [None, embedding_prompt(5, 1), key_value_prompt(model, 6, 2)]


@pytest.mark.parametrize("family", MERGED)
def test_a_head_of_examples_is_read_once_for_all_the_questions_after_it(family: str, new_engine: NewEngine) -> None:
    model = shared(family)
    engine = new_engine(model)
    for prompt in _prompts(model):
        virtual = prompt.num_virtual_tokens if prompt else 0
        made_ready = prompt is not None and prompt.config.holds_key_values
        assert read_for(engine, HEAD + QUESTIONS[0], prompt) == (0, 81 if made_ready else virtual + 81)
        for question in QUESTIONS[1:]:
            assert read_for(engine, HEAD + question, prompt) == (virtual + 60, 21)
        for question in QUESTIONS:
            assert list(ask(engine, HEAD + question, prompt, new=12).token_ids) == generate(model, HEAD + question, prompt, new=12)


def test_requests_that_arrive_together_read_their_common_head_once(new_engine: NewEngine) -> None:
    model, prompt = shared("llama"), embedding_prompt(7)
    engine = new_engine(model)
    with counted_reads(model) as reads:
        running = [engine.submit(HEAD + ids, soft_prompt=prompt, settings=GenerationSettings(max_new_tokens=1)) for ids in QUESTIONS]
        results = [generation.result() for generation in running]
    assert reads.positions == 7 + 60 + 3 * 21
    assert [result.cached_tokens for result in results] == [0, 67, 67]


@pytest.mark.parametrize("family", MERGED)
@pytest.mark.parametrize("virtual", [0, 5])
def test_a_chat_that_grows_reads_only_what_is_new(family: str, virtual: int, new_engine: NewEngine) -> None:
    """The last token of an answer that ended at its limit was never read, so it is read with the next turn."""
    model = shared(family)
    engine, prompt = new_engine(model), embedding_prompt(virtual, 1) if virtual else None
    history: list[int] = []
    for turn in range(4):
        known = virtual + len(history) - 1 if turn else 0
        history += tokens(18, turn)
        assert read_for(engine, history, prompt) == (known, virtual + len(history) - known)
        answer = list(ask(engine, history, prompt, new=20).token_ids)
        assert answer == generate(model, history, prompt, new=20)
        history += answer


def test_an_answer_that_ended_by_itself_is_remembered_to_its_end(new_engine: NewEngine) -> None:
    model = shared("llama")
    whole = generate(model, HEAD, new=40)
    stop = next(token for place, token in enumerate(whole) if place > SHORTEST_RUN and token not in whole[:place])
    engine = new_engine(model)
    answer = engine.submit(HEAD, settings=GenerationSettings(max_new_tokens=40, stop_token_ids=(stop,))).result().token_ids
    assert list(answer) == whole[: whole.index(stop)]
    assert read_for(engine, [*HEAD, *answer, stop, 5]) == (60 + len(answer), 2)


def test_an_agents_branches_share_the_history_before_they_part(new_engine: NewEngine) -> None:
    model = shared("llama")
    engine = new_engine(model)
    history = HEAD + list(ask(engine, HEAD, new=25).token_ids)[:-1]
    for question in QUESTIONS:
        assert read_for(engine, history + question) == (60 + 24, 21)
        assert list(ask(engine, history + question, new=8).token_ids) == generate(model, history + question, new=8)


def test_a_prompt_that_is_there_whole_is_read_from_its_last_token(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    ask(engine, HEAD, embedding_prompt(4))
    assert read_for(engine, HEAD, embedding_prompt(4)) == (63, 1)


@pytest.mark.parametrize("family", SEPARATE)
def test_native_caches_continue_a_soft_prompt_where_they_can_and_tell_the_truth_where_not(family: str, new_engine: NewEngine) -> None:
    model, prompt = shared(family), embedding_prompt(6)
    engine = new_engine(model)
    assert read_for(engine, HEAD, prompt) == (0, 66)
    known = 6 if model.snapshots_prefix else 0
    assert read_for(engine, HEAD, prompt) == (known, 66 - known)
    assert read_for(engine, HEAD) == read_for(engine, HEAD) == (0, 60)


@pytest.mark.parametrize("chunk", [1, 7, 60])
def test_what_was_read_in_chunks_is_remembered_like_what_was_read_at_once(chunk: int, new_engine: NewEngine) -> None:
    model, prompt = shared("llama"), embedding_prompt(5)
    engine = new_engine(model, prefill_chunk=chunk)
    for question, known in zip(QUESTIONS, (0, 65, 65), strict=True):
        assert read_for(engine, HEAD + question, prompt) == (known, 86 - known)
        assert list(ask(engine, HEAD + question, prompt, new=10).token_ids) == generate(model, HEAD + question, prompt, new=10)


# What must not be shared.


def _nearly(prompt: SoftPrompt) -> SoftPrompt:
    changed = prompt.tensors["prompt_embeddings"].clone()
    changed[-1, -1] += 1e-3
    return replace(prompt, tensors={"prompt_embeddings": changed})


def test_soft_prompts_that_differ_in_one_number_share_nothing_under_the_same_text(new_engine: NewEngine) -> None:
    model, prompt = shared("llama"), embedding_prompt(5)
    engine = new_engine(model)
    for other in (prompt, _nearly(prompt), embedding_prompt(5, 1), None):
        virtual = 5 if other else 0
        assert read_for(engine, HEAD, other) == (0, virtual + 60)
    for other in (prompt, _nearly(prompt), embedding_prompt(5, 1), None):
        assert list(ask(engine, HEAD, other, new=12).token_ids) == generate(model, HEAD, other, new=12)


def test_the_same_soft_prompt_under_another_name_shares_all(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    ask(engine, HEAD, embedding_prompt(5).with_source("one"))
    assert read_for(engine, HEAD, embedding_prompt(5).with_source("another")) == (64, 1)


def test_two_models_share_nothing(new_engine: NewEngine) -> None:
    one, other = shared("llama"), build("llama")
    with torch.no_grad():
        other.model.lm_head.weight.copy_(other.model.lm_head.weight.flip(0))
    engines = new_engine(one), new_engine(other)
    for engine in engines:
        assert read_for(engine, HEAD, embedding_prompt(5)) == (0, 65)
    answers = [list(ask(engine, HEAD, embedding_prompt(5), new=12).token_ids) for engine in engines]
    assert answers == [generate(model, HEAD, embedding_prompt(5), new=12) for model in (one, other)]
    assert answers[0] != answers[1]


@pytest.mark.parametrize("kind", [ModelMismatchError, NonFiniteSoftPromptError])
def test_a_refused_soft_prompt_is_not_kept_pushes_nothing_out_and_is_refused_again(kind: type[Exception], new_engine: NewEngine) -> None:
    model = shared("llama")
    engine = new_engine(model, prefix_cache_bytes=70 * POSITION)
    ask(engine, HEAD, embedding_prompt(5))
    before = kept_bytes(engine)
    assert before == 65 * POSITION
    ready = key_value_prompt(model, 6)
    # Numbers that float32 holds, and that the first layer turns to infinity.
    poisoned = replace(ready, tensors={"prompt_embeddings": torch.full_like(ready.tensors["prompt_embeddings"], 3e38)})
    too_wide = embedding_prompt(6)
    too_wide = replace(
        too_wide, config=too_wide.config.model_copy(update={"token_dim": 48}), tensors={"prompt_embeddings": torch.ones(6, 48)}
    )
    for _ in range(2):
        with pytest.raises(kind):
            ask(engine, HEAD, poisoned if kind is NonFiniteSoftPromptError else too_wide)
    assert kept_bytes(engine) == before
    assert read_for(engine, HEAD, embedding_prompt(5)) == (64, 1)


# The budget.


def test_the_least_recently_used_heads_go_and_answers_stay_exact(new_engine: NewEngine) -> None:
    model, prompt = shared("llama"), embedding_prompt(4)
    budget = (4 + 3 * 40) * POSITION
    engine = new_engine(model, prefix_cache_bytes=budget)
    heads = [[first, *tokens(29, first)] for first in range(8)]
    for head in heads:
        assert list(ask(engine, head, prompt, new=11).token_ids) == generate(model, head, prompt, new=11)
        assert kept_bytes(engine) <= budget
    assert kept_bytes(engine) == (4 + 4 * 30) * POSITION  # answers of eleven tokens are too short to be kept
    assert [read_for(engine, head, prompt) for head in heads[4:]] == [(33, 1)] * 4
    assert read_for(engine, heads[0], prompt) == (4, 30)  # the soft prompt outlives what hangs on it
    assert read_for(engine, heads[4], prompt) == (4, 30)  # pushed out by the first
    assert read_for(engine, heads[7], prompt) == (33, 1)


def test_without_a_budget_everything_is_read_each_time(new_engine: NewEngine) -> None:
    model = shared("llama")
    engine = new_engine(model, prefix_cache_bytes=0)
    for prompt in (None, embedding_prompt(5)):
        for _ in range(2):
            assert read_for(engine, HEAD, prompt) == (0, 60 + (5 if prompt else 0))
        assert list(ask(engine, HEAD, prompt, new=12).token_ids) == generate(model, HEAD, prompt, new=12)
    assert kept_bytes(engine) == 0


def test_closing_an_engine_forgets_what_was_kept(new_engine: NewEngine) -> None:
    engine = new_engine(shared("llama"))
    ask(engine, HEAD)
    assert kept_bytes(engine) == 60 * POSITION
    engine.close()
    assert kept_bytes(engine) == 0


# Any mix of it all. Texts are a head cut anywhere and a tail cut anywhere, so that they share, part and grow.
_REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([0, 8, 20, 33]),
        st.integers(0, 2),
        st.sampled_from([1, 7, 18]),
        st.integers(0, 3),
        st.sampled_from([1, 18]),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("family", ["llama", "mistral"])
@settings(deadline=None, max_examples=15)
@given(requests=_REQUESTS, budget=st.sampled_from([0, 20, 60, 150, 10_000]), chunk=st.sampled_from([5, 256]))
def test_any_mix_within_any_budget_counts_what_was_read_and_answers_as_generate_does(
    family: str, requests: list[tuple[int, int, int, int, int, bool]], budget: int, chunk: int
) -> None:
    """Some requests are waited for, others run on beside later ones; reads are counted over all of them."""
    model = shared(family)
    with Engine(model, EngineLimits(max_rows=3, prefix_cache_bytes=budget * POSITION, prefill_chunk=chunk)) as engine:
        with counted_reads(model) as reads:
            running = []
            for head, tail, length, prompt, new, waited in requests:
                chosen = GenerationSettings(max_new_tokens=new)
                generation = engine.submit(_text(head, tail, length), soft_prompt=_prompt(family, prompt), settings=chosen)
                running.append(generation)
                if waited:
                    generation.result()
            results = [generation.result() for generation in running]
        assert kept_bytes(engine) <= budget * POSITION
    positions = 0
    for (head, tail, length, prompt, new, _), result in zip(requests, results, strict=True):
        assert list(result.token_ids) == _expected(family, head, tail, length, prompt)[:new]
        soft_prompt = _prompt(family, prompt)
        not_read = result.cached_tokens
        if soft_prompt is not None and soft_prompt.config.holds_key_values and not result.cached_tokens:
            not_read = soft_prompt.num_virtual_tokens  # keys and values come with it, so it is never read
        positions += result.virtual_tokens + result.prompt_tokens - not_read
    assert positions == reads.positions


def _text(head: int, tail: int, length: int) -> list[int]:
    return HEAD[:head] + QUESTIONS[tail][:length]


@cache
def _prompt(family: str, number: int) -> SoftPrompt | None:
    return [None, embedding_prompt(5, 1), embedding_prompt(5, 2), key_value_prompt(shared(family), 6, 3)][number]


@cache
def _expected(family: str, head: int, tail: int, length: int, prompt: int) -> list[int]:
    return generate(shared(family), _text(head, tail, length), _prompt(family, prompt), new=18)
