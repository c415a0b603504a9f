"""What we give users for their own tests does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine, close_all
from langchain_softprompt.errors import ContextLengthError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.testing import FakeEngine, save_tiny_model, tiny_model, tiny_soft_prompt
from tests.unit_tests.chat.conftest import QUESTION


def test_fake_engine_answers_in_turn_and_starts_again() -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(["one", "two"]))
    assert [llm.invoke(QUESTION).text for _ in range(3)] == ["one", "two", "one"]


def test_fake_engine_answers_by_function_and_shows_what_it_was_asked() -> None:
    engine = FakeEngine(lambda request: f"{request.soft_prompt.source if request.soft_prompt else 'nobody'} was asked")
    llm = ChatSoftPrompt(model="fake", engine=engine)
    assert llm.invoke(QUESTION, soft_prompt=tiny_soft_prompt(source="acme/mood")).text == "acme/mood was asked"
    assert QUESTION in engine.requests[0].prompt
    assert engine.requests[0].prompt.endswith("<|im_start|>assistant\n")


def test_fake_engine_raises_what_it_is_told_to() -> None:
    with pytest.raises(ZeroDivisionError):
        ChatSoftPrompt(model="fake", engine=FakeEngine([ZeroDivisionError()])).invoke(QUESTION)


def test_fake_engine_has_a_context_window() -> None:
    with pytest.raises(ContextLengthError):
        ChatSoftPrompt(model="fake", engine=FakeEngine(max_positions=10)).invoke(QUESTION)


def test_fake_engine_tells_a_stream_that_was_left() -> None:
    engine = FakeEngine(["abc"])
    stream = ChatSoftPrompt(model="fake", engine=engine).stream(QUESTION)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert engine.requests[0].generation.cancelled
    ChatSoftPrompt(model="fake", engine=engine).invoke(QUESTION)
    assert not engine.requests[1].generation.cancelled


def test_tiny_models_of_one_seed_are_the_same_and_of_two_are_not() -> None:
    assert tiny_model(1).fingerprint == tiny_model(1).fingerprint != tiny_model(2).fingerprint


def test_tiny_model_leaves_the_random_state_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    tiny_model()
    assert torch.equal(torch.rand(1), expected)


def test_saved_tiny_model_is_the_tiny_model(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path, seed=3)
    assert FrozenModel.load(folder).fingerprint == tiny_model(3).fingerprint


def test_chat_model_loads_a_folder_once_for_the_process(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    llm = ChatSoftPrompt(model=folder, max_tokens=5)
    same = ChatSoftPrompt(model=str(folder), soft_prompt=tiny_soft_prompt(1), max_tokens=5)
    try:
        assert llm._engine() is same._engine()
        with Engine(tiny_model()) as engine:
            direct = ChatSoftPrompt(model="tiny", engine=engine, max_tokens=5)
            assert llm.invoke(QUESTION).text == direct.invoke(QUESTION).text
            assert same.invoke(QUESTION).text == direct.invoke(QUESTION, soft_prompt=tiny_soft_prompt(1)).text
    finally:
        close_all()


@pytest.mark.parametrize("text", ["plain", "Grüße 🎉", "<|im_end|>"])
def test_tiny_tokenizer_gives_back_what_it_was_given(text: str) -> None:
    tokenizer = tiny_model().tokenizer
    assert tokenizer is not None
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
