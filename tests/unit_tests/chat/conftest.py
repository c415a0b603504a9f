"""One tiny frozen model, its engine, and soft prompts that make it say different things."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.testing import tiny_model, tiny_soft_prompt

QUESTION = "What is a soft prompt?"
MAX_TOKENS = 12


@dataclass(frozen=True)
class Expected:
    """Folders of two soft prompts, and what each of them and the bare model answer to `QUESTION`."""

    a: str
    b: str
    answer_a: str
    answer_b: str
    bare: str


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Engine(tiny_model()) as engine:
        yield engine


@pytest.fixture(scope="session")
def expected(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Expected:
    root = tmp_path_factory.mktemp("soft-prompts")
    a, b = (str(tiny_soft_prompt(seed).save(root / name)) for seed, name in ((1, "a"), (2, "b")))
    llm = ChatSoftPrompt(model="tiny", engine=engine, max_tokens=MAX_TOKENS)
    answers = [llm.invoke(QUESTION, soft_prompt=choice).text for choice in (a, b, None)]
    assert len(set(answers)) == 3, "the soft prompts must be told apart by what they make the model say"
    return Expected(a, b, *answers)


@pytest.fixture
def llm(engine: Engine) -> ChatSoftPrompt:
    """The bare model."""
    return ChatSoftPrompt(model="tiny", engine=engine, max_tokens=MAX_TOKENS)


@pytest.fixture
def prompt_folder(tmp_path: Path) -> Path:
    """A soft prompt of this test's own, which it may change."""
    return tiny_soft_prompt(1).save(tmp_path / "mood")
