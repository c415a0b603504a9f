"""A chat model is copied, pickled, and written down by LangChain: by the names that make it, never with what is loaded."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps, loads

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.llms import SoftPromptLLM
from langchain_softprompt.settings import EngineLimits
from langchain_softprompt.testing import tiny_soft_prompt
from langchain_softprompt.tool_calls import KNOWN_FORMATS
from tests.unit_tests.chat.conftest import QUESTION, Expected


def pickled(what: Any) -> Any:
    """What comes back."""
    return pickle.loads(pickle.dumps(what))  # noqa: S301 - our own


FIELDS: dict[str, Any] = {"model": Path("some/folder"), "soft_prompt": "acme/mood@v2", "max_tokens": 7, "stop": ["\n"], "seed": 3}


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("kind", [ChatSoftPrompt, SoftPromptLLM])
def test_what_dumps_writes_loads_reads(kind: Any) -> None:
    """With a key there is none in what is written, as none is needed."""
    llm = kind(**FIELDS, api_key="sk-secret")
    written = dumps(llm)
    assert "secret" not in written
    again = loads(written, allowed_objects=[kind], valid_namespaces=["langchain_softprompt"])
    assert type(again) is kind
    assert {**again.model_dump(), "model": Path(again.model)} == llm.model_dump()


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_chat_fields_are_written_too() -> None:
    llm = ChatSoftPrompt(model="embedded", tool_format="llama3", chat_template="{{ messages }}", reasoning=False)
    again: Any = loads(dumps(llm), allowed_objects=[ChatSoftPrompt], valid_namespaces=["langchain_softprompt"])
    assert again.model_dump() == llm.model_dump()


@pytest.mark.parametrize("kind", [ChatSoftPrompt, SoftPromptLLM])
@pytest.mark.parametrize("loaded", [{"soft_prompt": tiny_soft_prompt(1)}, {"engine_limits": EngineLimits()}])
def test_what_is_loaded_is_described_and_never_written(kind: Any, loaded: dict[str, Any]) -> None:
    """Reading it back as a model without it would answer with another one in silence."""
    written = dumpd(kind(model="tiny", **loaded))
    assert written["type"] == "not_implemented"
    assert len(json.dumps(written)) < 1500


def test_a_tool_format_of_one_s_own_is_not_written() -> None:
    assert dumpd(ChatSoftPrompt(model="tiny", tool_format=KNOWN_FORMATS["json"]))["type"] == "not_implemented"


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
