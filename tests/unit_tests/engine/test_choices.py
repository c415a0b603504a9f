"""Constrained answers: what transformers generates under the same constraint, in any company, and nothing but what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LogitsProcessorList, PrefixConstrainedLogitsProcessor, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper
from transformers.generation import TopKLogitsWarper, TopPLogitsWarper

from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import InvalidSettingsError, RequestFailedError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.sampling import Choices, filter_logits
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.tiny import VOCAB, build, embedding_prompt, generate, key_value_prompt, tokens

END = 5
Answers = tuple[tuple[int, ...], ...]
# One begins another, two share a head, one stands alone.
ANSWERS: Answers = ((11, 12), (11, 12, 13, 14), (11, 40), (60,), (70, 71, 72))


@cache
def _model(family: str) -> FrozenModel:
    return build(family, eos_token_id=END)


def _next(answers: Answers, given: Sequence[int]) -> list[int]:
    """What may come after what was given, by looking at every answer."""
    come = {answer[len(given)] for answer in answers if answer[: len(given)] == tuple(given) and len(answer) > len(given)}
    return sorted(come | ({END} if tuple(given) in answers else set()))


def _transformers(model: FrozenModel, ids: list[int], answers: Answers, soft_prompt: SoftPrompt | None, new: int = 8) -> list[int]:
    answer = generate(model, ids, soft_prompt, new=new, prefix_allowed_tokens_fn=lambda _, read: _next(answers, read[len(ids) :].tolist()))
    return answer[:-1] if answer[-1] == END else answer


@pytest.mark.parametrize("family", ["llama", "mistral", "lfm2"])
def test_rows_with_choices_and_rows_without_each_equal_generate_in_one_batch(family: str, new_engine: NewEngine) -> None:
    """Greedy, with soft prompts and without, against `prefix_allowed_tokens_fn`."""
    model = _model(family)
    engine = new_engine(model, max_rows=6)
    soft = [None, embedding_prompt(3, 1)] + ([key_value_prompt(model, 6, 3)] if model.reuses_prefix else [])
    asked = [(tokens(length, length), prompt) for length in (1, 7, 20) for prompt in soft]
    chosen = [engine.submit(ids, soft_prompt=prompt, constraint=Choices(ANSWERS)) for ids, prompt in asked]
    free = [engine.submit(ids, soft_prompt=prompt, settings=GenerationSettings(max_new_tokens=8)) for ids, prompt in asked]
    for (ids, prompt), constrained, plain in zip(asked, chosen, free, strict=True):
        result = constrained.result()
        assert list(result.token_ids) == _transformers(model, ids, ANSWERS, prompt)
        assert result.token_ids in ANSWERS
        assert result.finish_reason == "stop"
        expected = generate(model, ids, prompt, new=8)
        assert list(plain.result().token_ids) == (expected[: expected.index(END)] if END in expected else expected)


_ANSWER_LISTS = st.lists(
    st.lists(st.sampled_from([7, 8, 9, 50, 95]), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6, unique=True
).map(tuple)


@settings(deadline=None, max_examples=40)
@given(answers=_ANSWER_LISTS, length=st.integers(1, 12), seed=st.integers(0, 99))
def test_any_set_of_answers_gives_what_generate_gives(answers: Answers, length: int, seed: int) -> None:
    model, ids = _model("llama"), tokens(length, seed)
    with Engine(model, EngineLimits(max_rows=2)) as engine:
        answer = engine.submit(ids, constraint=Choices(answers)).result().token_ids
    assert list(answer) == _transformers(model, ids, answers, None)
    assert answer in answers


def test_drawn_answers_are_choices_too_and_a_seed_gives_the_same_one_alone_and_in_company(new_engine: NewEngine) -> None:
    engine = new_engine(_model("llama"), max_rows=4)
    chosen = [GenerationSettings(temperature=3.0, repetition_penalty=1.2, seed=seed) for seed in range(12)]
    alone = [engine.submit(tokens(6), settings=one, constraint=Choices(ANSWERS)).result().token_ids for one in chosen]
    company = [engine.submit(tokens(n + 1, n), settings=GenerationSettings(max_new_tokens=9, temperature=1.0)) for n in range(5)]
    again = [engine.submit(tokens(6), settings=one, constraint=Choices(ANSWERS)) for one in chosen]
    assert [generation.result().token_ids for generation in again] == alone
    assert set(alone) <= set(ANSWERS)
    assert len(set(alone)) > 1
    for generation in company:
        generation.result()


@given(data=st.data(), seed=st.integers(0, 1000))
def test_the_distribution_drawn_from_is_transformers_own_under_the_same_constraint(data: st.DataObject, seed: int) -> None:
    """Bit for bit: penalty, then the constraint, then temperature, top-k and top-p."""
    allowed = data.draw(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=20, unique=True))
    logits = 4 * torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed))
    chosen = GenerationSettings(temperature=0.7, top_k=9, top_p=0.8, repetition_penalty=1.3)
    seen = tokens(9, seed)
    processors = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.3),
            PrefixConstrainedLogitsProcessor(lambda *_: allowed, num_beams=1),
            TemperatureLogitsWarper(0.7),
            TopKLogitsWarper(9),
            TopPLogitsWarper(0.8),
        ]
    )
    expected = processors(torch.tensor([seen]), logits[None].clone())[0]
    assert torch.equal(filter_logits(logits, chosen, _mask(seen), _mask(allowed)), expected)


def _mask(ids: Sequence[int]) -> Tensor:
    mask = torch.zeros(VOCAB, dtype=torch.bool)
    mask[list(ids)] = True
    return mask


def test_an_answer_that_nothing_can_follow_ends_without_asking_the_model_for_its_end(new_engine: NewEngine) -> None:
    """A model that has no token to end with can still choose, and the last token needs no room beyond it."""
    engine = new_engine(build("llama"))
    result = engine.submit(tokens(4), settings=GenerationSettings(max_new_tokens=3), constraint=Choices([(1, 2, 3)])).result()
    assert (result.token_ids, result.finish_reason) == ((1, 2, 3), "stop")


def test_a_stream_is_constrained_as_well(new_engine: NewEngine) -> None:
    engine = new_engine(_model("llama"))
    assert tuple(engine.stream(tokens(5), constraint=Choices(ANSWERS))) in ANSWERS


def test_one_set_of_choices_serves_any_number_of_requests(new_engine: NewEngine) -> None:
    engine, choices = new_engine(_model("llama"), max_rows=3), Choices(ANSWERS)
    running = [engine.submit(tokens(n + 2, n), constraint=choices) for n in range(8)]
    for n, generation in enumerate(running):
        assert list(generation.result().token_ids) == _transformers(_model("llama"), tokens(n + 2, n), ANSWERS, None)


@pytest.mark.parametrize(("answers", "sentence"), [([], "at least one answer"), ([[1], []], "no tokens")])
def test_choices_without_answers_or_with_an_empty_one_are_refused(answers: list[list[int]], sentence: str) -> None:
    with pytest.raises(InvalidSettingsError, match=sentence):
        Choices(answers)


def test_an_answer_with_an_ending_token_inside_fails_its_own_request_only(new_engine: NewEngine) -> None:
    engine = new_engine(_model("llama"))
    wrong = engine.submit(tokens(3), constraint=Choices([(1, END, 2)]))
    right = engine.submit(tokens(3), constraint=Choices(ANSWERS))
    with pytest.raises(InvalidSettingsError, match=f"token {END} ends answers"):
        wrong.result()
    assert right.result().token_ids in ANSWERS


class _Nothing:
    """A grammar gone wrong: nothing may come."""

    def start(self, stop_ids: frozenset[int]) -> _Nothing:
        return self

    def mask(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.bool)

    def accept(self, token: int) -> bool:
        raise AssertionError(token)


class _Twice:
    """A constraint of another kind at the same seam, as a grammar would be: anything, then a token once more."""

    def __init__(self, size: int = 0) -> None:
        self._given: list[int] = []

    def start(self, stop_ids: frozenset[int]) -> _Twice:
        return _Twice()

    def mask(self, size: int) -> Tensor | None:
        return _mask(self._given) if self._given else None

    def accept(self, token: int) -> bool:
        self._given.append(token)
        return len(self._given) == 2


def test_a_constraint_that_leaves_no_token_fails_its_own_request_only(new_engine: NewEngine) -> None:
    engine = new_engine(_model("llama"))
    stuck = engine.submit(tokens(3), constraint=_Nothing())
    right = engine.submit(tokens(3), settings=GenerationSettings(max_new_tokens=2))
    with pytest.raises(RequestFailedError, match="None of the tokens"):
        stuck.result()
    assert list(right.result().token_ids) == generate(_model("llama"), tokens(3), new=2)


def test_any_object_with_the_two_methods_is_a_constraint(new_engine: NewEngine) -> None:
    engine = new_engine(_model("llama"))
    first = generate(_model("llama"), tokens(6), new=1)
    result = engine.submit(tokens(6), constraint=_Twice()).result()
    assert (list(result.token_ids), result.finish_reason) == (first * 2, "stop")
