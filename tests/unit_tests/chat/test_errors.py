"""Our errors are caught by our names and by LangChain's."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_core import exceptions as langchain_errors

from langchain_softprompt import errors
from langchain_softprompt.calls.errors import RequestTimeoutError, in_langchain_family
from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import (
    ContextLengthError,
    EngineBusyError,
    ModelMismatchError,
    ModelUnavailableError,
    NonFiniteSoftPromptError,
    RequestFailedError,
    SoftPromptError,
    SoftPromptNotFoundError,
)
from langchain_softprompt.soft_prompt import Manifest
from langchain_softprompt.soft_prompt.manifest import BaseModelRecord
from langchain_softprompt.testing import FakeEngine, tiny_model, tiny_soft_prompt
from tests.unit_tests.chat.conftest import QUESTION, Expected


def _raised(error: Exception) -> Exception:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine([error]))
    with pytest.raises(type(error)) as caught:
        llm.invoke(QUESTION)
    return caught.value


@pytest.mark.parametrize(
    ("error", "family", "retryable"),
    [
        (ContextLengthError("x"), langchain_errors.ContextOverflowError, False),
        (ModelMismatchError("x", expected="a", found="b"), langchain_errors.ModelInvalidRequestError, False),
        (NonFiniteSoftPromptError(file="f", field="x", expected="a", found="b"), langchain_errors.ModelInvalidRequestError, False),
        (errors.ChatTemplateError("x"), langchain_errors.ModelInvalidRequestError, False),
        (SoftPromptNotFoundError("x"), langchain_errors.ModelNotFoundError, False),
        (ModelUnavailableError("x"), langchain_errors.ModelNotFoundError, False),
        (EngineBusyError("x"), langchain_errors.ModelRateLimitError, True),
        (RequestFailedError("x"), langchain_errors.ModelAPIError, True),
        (RequestTimeoutError("x"), langchain_errors.ModelTimeoutError, True),
    ],
)
def test_error_is_a_member_of_both_families(error: Exception, family: type[langchain_errors.ModelError], retryable: bool) -> None:
    raised = _raised(error)
    assert isinstance(raised, family)
    assert raised.is_retryable is retryable
    assert str(raised) == str(error)
    assert vars(raised) == vars(error)


def test_error_without_a_relative_stays_as_it_is() -> None:
    error = errors.RequestCancelledError("x")
    assert _raised(error) is error


def test_twin_is_made_once_and_has_the_same_name() -> None:
    kinds = {type(_raised(ContextLengthError("x"))) for _ in range(2)}
    assert [kind.__name__ for kind in kinds] == ["ContextLengthError"]


def test_error_that_is_a_member_already_is_not_wrapped_again() -> None:
    error = ContextLengthError("x")
    with pytest.raises(ContextLengthError) as inner, in_langchain_family():
        raise error
    with pytest.raises(ContextLengthError) as outer, in_langchain_family():
        raise inner.value
    assert outer.value is inner.value


def test_soft_prompt_of_another_model_raises_at_the_call_unless_allowed(engine: Engine) -> None:
    record = BaseModelRecord(id="another", fingerprint="0" * 64)
    foreign = tiny_soft_prompt(1, manifest=Manifest(base_model=record, method="test"))
    llm = ChatSoftPrompt(model="tiny", engine=engine, max_tokens=4, soft_prompt=foreign)
    for call in (llm.invoke, lambda question: list(llm.stream(question))):
        with pytest.raises(ModelMismatchError, match="another") as caught:
            call(QUESTION)
        assert isinstance(caught.value, langchain_errors.ModelInvalidRequestError)
    with pytest.raises(ModelMismatchError):
        list(llm.bind(stop=["x"]).stream(QUESTION))
    assert len(llm.invoke(QUESTION, allow_other_model=True).text) == 4
    assert len(llm.model_copy(update={"allow_other_model": True}).invoke(QUESTION).text) == 4


def test_prompt_longer_than_the_context_raises_langchains_error() -> None:
    with Engine(tiny_model(max_positions=64)) as engine:
        llm = ChatSoftPrompt(model="tiny", engine=engine, max_tokens=8)
        with pytest.raises(langchain_errors.ContextOverflowError, match="64"):
            llm.invoke("long " * 50)


def test_model_that_is_not_there_raises_langchains_error(tmp_path: Path) -> None:
    with pytest.raises(langchain_errors.ModelNotFoundError):
        ChatSoftPrompt(model=tmp_path / "nowhere").invoke(QUESTION)


async def test_soft_prompt_that_is_not_there_raises_langchains_error(tmp_path: Path) -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine(), soft_prompt=tmp_path / "nowhere")
    with pytest.raises(langchain_errors.ModelNotFoundError):
        llm.invoke(QUESTION)
    with pytest.raises(SoftPromptNotFoundError):
        await llm.ainvoke(QUESTION)
    with pytest.raises(SoftPromptNotFoundError):
        llm.get_num_tokens_from_messages([])


def test_fallback_step_takes_over(expected: Expected) -> None:
    failing: Any = ChatSoftPrompt(model="fake", engine=FakeEngine([ContextLengthError("x")]))
    spare = ChatSoftPrompt(model="fake", engine=FakeEngine(["spare"]))
    chain = failing.with_fallbacks([spare], exceptions_to_handle=(langchain_errors.ContextOverflowError,))
    assert chain.invoke(QUESTION).text == "spare"


def test_image_is_refused_as_an_invalid_request() -> None:
    llm = ChatSoftPrompt(model="fake", engine=FakeEngine())
    with pytest.raises(langchain_errors.ModelInvalidRequestError, match="image"):
        llm.invoke([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}])


def test_every_error_stays_one_of_ours() -> None:
    assert issubclass(RequestTimeoutError, SoftPromptError)
    assert pickle.loads(pickle.dumps(RequestTimeoutError("x"))).args == ("x",)  # noqa: S301 - our own bytes
