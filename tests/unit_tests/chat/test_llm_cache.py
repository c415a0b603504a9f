"""LangChain's LLM cache keeps soft prompts apart, however they were chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.runnables import ConfigurableField

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine, close_all
from langchain_softprompt.soft_prompt import Manifest
from langchain_softprompt.soft_prompt.manifest import BaseModelRecord
from langchain_softprompt.testing import FakeEngine, FakeRequest, save_tiny_model, tiny_soft_prompt
from tests.unit_tests.chat.conftest import QUESTION, Expected


@pytest.fixture
def cached(llm: ChatSoftPrompt) -> ChatSoftPrompt:
    return llm.model_copy(update={"cache": InMemoryCache()})


def test_field_call_copy_and_config_do_not_share_answers(cached: ChatSoftPrompt, engine: Engine, expected: Expected) -> None:
    field = ChatSoftPrompt(model="tiny", engine=engine, max_tokens=cached.max_tokens, cache=cached.cache, soft_prompt=expected.a)
    configurable = cached.configurable_fields(soft_prompt=ConfigurableField(id="soft_prompt"))
    for _ in range(2):  # the second time from the cache
        assert cached.invoke(QUESTION).text == expected.bare
        assert field.invoke(QUESTION).text == expected.answer_a
        assert field.invoke(QUESTION, soft_prompt=expected.b).text == expected.answer_b
        assert field.invoke(QUESTION, soft_prompt=None).text == expected.bare
        assert field.with_soft_prompt(expected.b).invoke(QUESTION).text == expected.answer_b
        assert field.model_copy(update={"soft_prompt": expected.b}).invoke(QUESTION).text == expected.answer_b
        assert cached.bind(soft_prompt=expected.a).invoke(QUESTION).text == expected.answer_a
        assert configurable.invoke(QUESTION, {"configurable": {"soft_prompt": expected.b}}).text == expected.answer_b
        assert cached.with_soft_prompt(tiny_soft_prompt(1)).invoke(QUESTION).text == expected.answer_a


async def test_async_calls_do_not_share_answers(cached: ChatSoftPrompt, expected: Expected) -> None:
    for _ in range(2):
        answers = [(await cached.ainvoke(QUESTION, soft_prompt=choice)).text for choice in (expected.a, expected.b, None)]
        assert answers == [expected.answer_a, expected.answer_b, expected.bare]


def _counting() -> tuple[FakeEngine, ChatSoftPrompt]:
    engine = FakeEngine(lambda request: f"{request.soft_prompt.content_hash if request.soft_prompt else 'bare'}")
    return engine, ChatSoftPrompt(model="fake", engine=engine, cache=InMemoryCache())


def test_same_call_is_answered_from_the_cache() -> None:
    engine, llm = _counting()
    for choice in (tiny_soft_prompt(1), tiny_soft_prompt(1).with_source("elsewhere")):
        llm.invoke(QUESTION, soft_prompt=choice)
        llm.invoke(QUESTION, soft_prompt=choice, max_new_tokens=256)
    assert len(engine.requests) == 2, "one for each source: the answer's metadata names it"


@pytest.mark.parametrize(
    "other",
    [
        {"temperature": 0.5},
        {"max_tokens": 7},
        {"max_new_tokens": 7},
        {"top_k": 3},
        {"top_p": 0.5},
        {"min_p": 0.5},
        {"seed": 1},
        {"stop": ["x"]},
        {"repetition_penalty": 2},
    ],
)
def test_other_settings_are_another_entry(other: dict[str, Any]) -> None:
    engine, llm = _counting()
    llm.invoke(QUESTION)
    llm.invoke(QUESTION, **other)
    assert len(engine.requests) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"model": "x"},
        {"revision": "x"},
        {"dtype": "float16"},
        {"quantization": "int8"},
        {"gguf_file": "x"},
        {"engine": FakeEngine(name="x")},
    ],
)
def test_another_frozen_model_is_another_entry(other: dict[str, Any]) -> None:
    _, llm = _counting()
    assert llm._get_llm_string() != llm.model_copy(update=other)._get_llm_string()


def test_dropping_the_default_system_message_is_another_entry() -> None:
    """It changes the prompt, and the content hash does not tell."""
    record = BaseModelRecord(id="tiny", fingerprint="0" * 64)
    plain, dropping = (
        tiny_soft_prompt(1, manifest=Manifest(base_model=record, method="test", drop_default_system=drop)) for drop in (False, True)
    )
    assert plain.content_hash == dropping.content_hash
    _, llm = _counting()
    assert llm._get_llm_string(soft_prompt=plain) != llm._get_llm_string(soft_prompt=dropping)


def test_changed_folder_is_not_answered_from_the_cache(prompt_folder: Path) -> None:
    engine, llm = _counting()
    chosen = llm.with_soft_prompt(prompt_folder)
    first = chosen.invoke(QUESTION)
    tiny_soft_prompt(2, virtual_tokens=5).save(prompt_folder)
    second = chosen.invoke(QUESTION)
    assert first.text != second.text
    assert len(engine.requests) == 2


def test_what_was_looked_up_is_what_answers(prompt_folder: Path) -> None:
    """A folder that changes between the cache's key and the answer must not file the new answer under the old key."""
    engine = FakeEngine(lambda request: str(request.soft_prompt.content_hash) if request.soft_prompt else "bare")

    class Meddling(InMemoryCache):
        def lookup(self, prompt: str, llm_string: str) -> Any:
            found = super().lookup(prompt, llm_string)
            tiny_soft_prompt(2, virtual_tokens=5).save(prompt_folder)
            return found

    llm = ChatSoftPrompt(model="fake", engine=engine, cache=Meddling(), soft_prompt=prompt_folder)
    assert llm.invoke(QUESTION).text == tiny_soft_prompt(1).content_hash


def test_unknown_argument_raises_with_a_cache_too() -> None:
    requests: list[FakeRequest] = []
    _, llm = _counting()
    with pytest.raises(TypeError, match="soft_prompt"):
        llm.invoke(QUESTION, softprompt="acme/a")
    assert not requests


def test_other_weights_behind_the_same_name_are_not_answered_for(tmp_path: Path) -> None:
    cache = InMemoryCache()
    answers = []
    try:
        for seed in (0, 1):
            save_tiny_model(tmp_path / "model", seed=seed)
            llm = ChatSoftPrompt(model=tmp_path / "model", dtype="float32", max_tokens=8, cache=cache)
            answers.append((llm.invoke(QUESTION).text, llm.model_copy(update={"cache": None}).invoke(QUESTION).text))
            close_all()
    finally:
        close_all()
    assert all(cached == fresh for cached, fresh in answers)
    assert answers[0] != answers[1]
