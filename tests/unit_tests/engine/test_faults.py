"""One request fails, with a typed error and its cause; the engine goes on."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from langchain_softprompt.engine import Generation
from langchain_softprompt.errors import ModelMismatchError, NonFiniteSoftPromptError, RequestFailedError, SoftPromptError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.soft_prompt.peft_format import PromptTuning
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.tiny import build, embedding_prompt, generate, key_value_prompt, tokens, wait_until_idle

NEW = GenerationSettings(max_new_tokens=10)
POISON = 13


class FaultError(Exception):
    def __str__(self) -> str:
        return "the model is broken"


@contextmanager
def raising(model: FrozenModel, *, rows: int | None = None, with_token: int | None = None) -> Iterator[None]:
    """Forwards raise when they have so many rows, or read that token."""

    def before(_: nn.Module, __: object, inputs: dict[str, Tensor]) -> None:
        ids = inputs["input_ids"]
        if ids is not None and (ids.shape[0] == rows or (with_token is not None and bool((ids == with_token).any()))):
            raise FaultError

    handle = model.model.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _clean_tokens(length: int, seed: int) -> list[int]:
    return [token if token != POISON else 1 for token in tokens(length, seed)]


def test_a_fault_in_prefill_fails_that_request_alone_with_its_cause(new_engine: NewEngine) -> None:
    model = build("llama")
    engine = new_engine(model)
    expected = generate(model, _clean_tokens(5, 1), new=10)
    assert POISON not in expected
    with raising(model, with_token=POISON):
        running = [engine.submit(ids, settings=NEW) for ids in (_clean_tokens(5, 1), [1, POISON, 2], _clean_tokens(5, 1))]
        with pytest.raises(RequestFailedError, match="FaultError: the model is broken") as caught:
            running[1].result()
        assert isinstance(caught.value.__cause__, FaultError)
        assert [list(running[n].result().token_ids) for n in (0, 2)] == [expected] * 2


def test_a_step_that_is_too_big_for_the_machine_is_taken_again_in_halves_and_nobody_fails(new_engine: NewEngine) -> None:
    """Out of memory with two rows at once, say."""
    model = build("llama")
    engine = new_engine(model)
    with raising(model, rows=2):
        pair = [engine.submit(tokens(5, seed), settings=NEW) for seed in (1, 2)]
        answers = [list(generation.result().token_ids) for generation in pair]
    assert answers == [generate(model, tokens(5, seed), new=10) for seed in (1, 2)]


def test_a_fault_of_one_row_in_a_shared_step_fails_that_row_alone(new_engine: NewEngine) -> None:
    model = build("llama")
    engine = new_engine(model)
    texts = [tokens(5, seed) for seed in (1, 2, 3)]
    whole = [generate(model, ids, new=10) for ids in texts]
    fatal = next(token for token in whole[1][2:] if token not in {*whole[0], *whole[2], *texts[0], *texts[1], *texts[2]})
    with raising(model, with_token=fatal):
        running = [engine.submit(ids, settings=NEW) for ids in texts]
        with pytest.raises(RequestFailedError) as caught:
            running[1].result()
        assert isinstance(caught.value.__cause__, FaultError)
        assert [list(running[n].result().token_ids) for n in (0, 2)] == [whole[0], whole[2]]
    wait_until_idle(engine)
    assert list(engine.submit(texts[1], settings=NEW).result().token_ids) == whole[1]


def test_tokens_that_came_before_the_fault_are_still_handed_out(new_engine: NewEngine) -> None:
    model = build("llama")
    whole = generate(model, tokens(5), new=10)
    seen: list[int] = []
    with raising(model, with_token=whole[4]):
        generation = new_engine(model).submit(tokens(5), settings=NEW)
        with pytest.raises(RequestFailedError):
            seen.extend(generation)
    assert seen == whole[: whole.index(whole[4]) + 1]


def test_nan_in_one_row_fails_that_row_alone(new_engine: NewEngine) -> None:
    model = build("llama")
    engine = new_engine(model)
    texts = [_clean_tokens(5, seed) for seed in (1, 2)]
    expected = [generate(model, ids, new=10) for ids in texts]

    def poison(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output.masked_fill((inputs[0] == POISON)[..., None], torch.nan)

    handle = model.model.get_input_embeddings().register_forward_hook(poison)
    assert all(POISON not in ids for ids in expected)
    running = [engine.submit(ids, settings=NEW) for ids in (texts[0], [3, POISON], texts[1])]
    with pytest.raises(RequestFailedError, match="NaN or infinity"):
        running[1].result()
    assert [list(running[n].result().token_ids) for n in (0, 2)] == expected
    handle.remove()


def _unfit(model: FrozenModel) -> dict[type[SoftPromptError], SoftPrompt]:
    too_wide = PromptTuning(peft_type="PROMPT_TUNING", task_type="CAUSAL_LM", num_virtual_tokens=2, token_dim=48)
    return {
        ModelMismatchError: SoftPrompt(too_wide, {"prompt_embeddings": torch.ones(2, 48)}),
        NonFiniteSoftPromptError: key_value_prompt_that_overflows(model),
    }


def key_value_prompt_that_overflows(model: FrozenModel) -> SoftPrompt:
    prompt = key_value_prompt(model, 3)
    return SoftPrompt(prompt.config, {"prompt_embeddings": torch.full_like(prompt.tensors["prompt_embeddings"], 1e6)})


@pytest.mark.parametrize("kind", [ModelMismatchError, NonFiniteSoftPromptError])
def test_a_soft_prompt_that_does_not_fit_fails_its_request_alone_with_its_own_error(
    kind: type[SoftPromptError], new_engine: NewEngine
) -> None:
    model = build("llama")
    if kind is NonFiniteSoftPromptError:  # 1e6 is Inf in float16
        model.model.half()
        model.dtype = torch.float16
    engine = new_engine(model)
    good, bad = engine.submit(tokens(5), settings=NEW), engine.submit(tokens(5), soft_prompt=_unfit(model)[kind], settings=NEW)
    with pytest.raises(kind):
        bad.result()
    assert good.result().finish_reason == "length"
    assert engine.submit(tokens(5), soft_prompt=embedding_prompt(2), settings=NEW).result().finish_reason == "length"


def test_an_error_that_is_kept_keeps_no_tensors_alive(new_engine: NewEngine) -> None:
    model = build("llama")
    engine = new_engine(model)
    seen: list[weakref.ref[Tensor]] = []

    def before(_: nn.Module, __: object, inputs: dict[str, Tensor]) -> None:
        seen.append(weakref.ref(inputs["attention_mask"]))
        raise FaultError

    handle = model.model.register_forward_pre_hook(before, with_kwargs=True)
    generation = engine.submit(tokens(5), settings=NEW)
    with pytest.raises(RequestFailedError) as caught:
        generation.result()
    handle.remove()
    gc.collect()
    assert seen
    assert seen[0]() is None
    assert isinstance(caught.value.__cause__, FaultError)
    assert "raise FaultError" in caught.value.__cause__.__notes__[0], "the traceback is there to read all the same"


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
