"""A chat model is copied, pickled, and described by LangChain's `dumps`."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumps

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.llms import SoftPromptLLM
from langchain_softprompt.testing import tiny_soft_prompt
from tests.unit_tests.chat.conftest import QUESTION, Expected


def pickled(what: Any) -> Any:
    """What comes back."""
    return pickle.loads(pickle.dumps(what))  # noqa: S301 - our own


FIELDS: dict[str, Any] = {"model": Path("some/folder"), "soft_prompt": "acme/mood@v2", "max_tokens": 7, "stop": ["\n"], "seed": 3}


@pytest.mark.parametrize("kind", [ChatSoftPrompt, SoftPromptLLM])
@pytest.mark.parametrize("soft_prompt", ["acme/mood", tiny_soft_prompt(1)])
def test_what_dumps_writes_describes_and_holds_no_weights_and_no_key(kind: Any, soft_prompt: Any) -> None:
    """LangChain's `loads` takes no chat models but those of its own partners, so nothing pretends to be readable."""
    written = dumps(kind(model="tiny", soft_prompt=soft_prompt, api_key="sk-secret"))
    assert json.loads(written)["type"] == "not_implemented"
    assert "secret" not in written
    assert len(written) < 1500


def test_a_deep_copy_shares_the_engine_and_answers_the_same(llm: ChatSoftPrompt, expected: Expected) -> None:
    soft_prompt = tiny_soft_prompt(1)
    worn = llm.with_soft_prompt(soft_prompt)
    for copied in (copy.deepcopy(worn), worn.model_copy(deep=True), copy.copy(worn)):
        assert copied is not worn
        assert copied.engine is llm.engine
        assert copied.soft_prompt is soft_prompt
        assert copied.invoke(QUESTION).text == expected.answer_a


def test_a_model_that_is_named_is_pickled_with_what_is_made_of_it() -> None:
    llm = ChatSoftPrompt(**FIELDS)
    assert pickled(llm) == llm
    for chain in (llm.with_structured_output({"type": "object"}), llm.with_choices(["a", "b"]), llm.with_choices(["a"], include_raw=True)):
        assert pickled(chain).first.bound == llm
    soft_prompt = tiny_soft_prompt(1)
    assert pickled(llm.with_soft_prompt(soft_prompt)).soft_prompt.content_hash == soft_prompt.content_hash


def test_a_model_with_an_engine_of_its_own_says_why_it_is_not_pickled(engine: Engine) -> None:
    with pytest.raises(InvalidSettingsError, match="Name the model instead"):
        pickle.dumps(ChatSoftPrompt(model="tiny", engine=engine))
