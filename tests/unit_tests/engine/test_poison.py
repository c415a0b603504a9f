"""Numbers that are not finite stay with the request that brought them, and never reach what is remembered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import InvalidSoftPromptError, NonFiniteSoftPromptError, RequestFailedError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.engine.conftest import NewEngine
from tests.unit_tests.engine.inside import check_nothing_left, prefixes_of
from tests.unit_tests.engine.tiny import build, embedding_prompt, generate, key_value_prompt, tokens, wait_until_idle

NEW = GenerationSettings(max_new_tokens=10)
POISON = 14


def _filled(prompt: SoftPrompt, number: float) -> SoftPrompt:
    return SoftPrompt(prompt.config, {"prompt_embeddings": torch.full_like(prompt.tensors["prompt_embeddings"], number)})


def _in(dtype: torch.dtype) -> FrozenModel:
    return FrozenModel.wrap(build("llama").model.to(dtype))


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_a_soft_prompt_that_is_not_finite_as_stored_is_never_made(number: float) -> None:
    with pytest.raises(InvalidSoftPromptError):
        _filled(embedding_prompt(3), number)


@pytest.mark.parametrize(
    ("kind", "dtype", "number"),
    [
        ("embeddings", torch.float16, 1e6),  # becomes infinite in the cast
        ("keys and values", torch.float16, 1e6),
        ("embeddings", torch.bfloat16, 3.4e38),  # so does this, though it is a float32
        ("keys and values", torch.bfloat16, 3.4e38),
        ("keys and values", torch.float16, 6e4),  # fits, and overflows inside the model
    ],
)
def test_a_soft_prompt_that_overflows_is_refused_and_nothing_of_it_is_kept(
    kind: str, dtype: torch.dtype, number: float, new_engine: NewEngine
) -> None:
    model = _in(dtype)
    engine, clean = new_engine(model), new_engine(_in(dtype))
    expected = [clean.submit(tokens(30), soft_prompt=prompt, settings=NEW).result().token_ids for prompt in (None, embedding_prompt(3))]
    poison = _filled(embedding_prompt(3) if kind == "embeddings" else key_value_prompt(model, 3), number)
    for _ in range(2):
        running = [engine.submit(tokens(30), soft_prompt=prompt, settings=NEW) for prompt in (None, poison, embedding_prompt(3), poison)]
        for bad in (running[1], running[3]):
            with pytest.raises(NonFiniteSoftPromptError):
                bad.result()
        assert [running[n].result().token_ids for n in (0, 2)] == expected
    _check_clean(engine)


@pytest.mark.parametrize("number", [1e38, 3e38])
def test_finite_rows_that_make_nan_of_the_text_after_them_are_refused_and_never_kept(number: float, new_engine: NewEngine) -> None:
    """In float32: keys so large that their products with queries are infinite, values whose sum is."""
    model = build("llama")
    engine = new_engine(model, prefill_chunk=7)
    poison = _filled(key_value_prompt(model, 3), number)
    text = tokens(40)
    for _ in range(2):
        running = [engine.submit(text, soft_prompt=prompt, settings=NEW) for prompt in (poison, None, embedding_prompt(3))]
        with pytest.raises(NonFiniteSoftPromptError, match="once text follows it"):
            running[0].result()
        assert list(running[1].result().token_ids) == generate(model, text, new=10)
        assert list(running[2].result().token_ids) == generate(model, text, embedding_prompt(3), new=10)
    _check_clean(engine)
    assert len(prefixes_of(engine)._roots) == 2


def _check_clean(engine: Engine) -> None:
    wait_until_idle(engine)
    check_nothing_left(engine)
    for run in prefixes_of(engine)._runs:
        for layer in run.prefix.layers:
            assert all(torch.isfinite(tensor).all() for tensor in layer)


@pytest.fixture
def poisoned() -> FrozenModel:
    """A model to which one token is NaN."""
    model = build("llama")

    def poison(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output.masked_fill((inputs[0] == POISON)[..., None], torch.nan)

    model.model.get_input_embeddings().register_forward_hook(poison)
    return model


def _without_poison(length: int, seed: int) -> list[int]:
    return [token if token != POISON else 1 for token in tokens(length, seed)]


@pytest.mark.parametrize("bad", [[3, POISON], [*range(20), POISON, *range(20, 40)]], ids=["at the end", "in the middle"])
def test_nan_in_one_row_fails_that_row_alone_and_its_text_is_not_remembered(
    bad: list[int], poisoned: FrozenModel, new_engine: NewEngine
) -> None:
    engine = new_engine(poisoned, prefill_chunk=16)
    texts = [_without_poison(5, seed) for seed in (1, 2)]
    expected = [generate(poisoned, ids, new=10) for ids in texts]
    assert all(POISON not in ids for ids in expected)
    running = [engine.submit(ids, settings=NEW) for ids in (texts[0], bad, texts[1])]
    with pytest.raises(RequestFailedError, match="NaN or infinity"):
        running[1].result()
    assert [list(running[n].result().token_ids) for n in (0, 2)] == expected
    _check_clean(engine)


def test_a_soft_prompt_that_was_fine_before_stays_when_a_later_text_turns_to_nan(poisoned: FrozenModel, new_engine: NewEngine) -> None:
    """The text is at fault, so it alone is forgotten."""
    engine, prompt = new_engine(poisoned), embedding_prompt(4)
    text = _without_poison(30, 1)
    whole = generate(poisoned, text, prompt, new=10)
    settings = NEW.override(max_new_tokens=whole.index(POISON)) if POISON in whole else NEW
    assert list(engine.submit(text, soft_prompt=prompt, settings=settings).result().token_ids) == whole[: settings.max_new_tokens]
    with pytest.raises(RequestFailedError):
        engine.submit([*text, POISON], soft_prompt=prompt, settings=settings).result()
    again = engine.submit(text, soft_prompt=prompt, settings=settings).result()
    assert list(again.token_ids) == whole[: settings.max_new_tokens]
    assert again.cached_tokens == prompt.num_virtual_tokens + len(text) - 1
    _check_clean(engine)
