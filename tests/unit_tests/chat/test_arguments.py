"""Arguments: a known one is checked, an unknown one is never dropped, and building a model costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from langchain_softprompt.chat_models import ChatSoftPrompt, UnknownArgumentError
from langchain_softprompt.errors import InvalidReferenceError, InvalidSettingsError
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.testing import FakeEngine, tiny_soft_prompt
from tests.unit_tests.chat.conftest import QUESTION

MISSPELT = [
    ("softprompt", "soft_prompt"),
    ("soft_promt", "soft_prompt"),
    ("adaptor", "soft_prompt"),
    ("adapter_id", "soft_prompt"),
    ("lora_request", "soft_prompt"),
    ("temprature", "temperature"),
    ("max_token", "max_tokens"),
    ("stop_sequences", "stop"),
    ("num_predict", "max_tokens"),
    ("repeat_penalty", "repetition_penalty"),
]


def _fake(**fields: Any) -> ChatSoftPrompt:
    return ChatSoftPrompt(model="fake", engine=FakeEngine(), **fields)


@pytest.mark.parametrize(("wrong", "right"), MISSPELT)
def test_misspelt_argument_raises_and_names_the_right_one(wrong: str, right: str) -> None:
    for call in (
        lambda **given: ChatSoftPrompt(model="embedded", **given),
        lambda **given: _fake().invoke(QUESTION, **given),
        lambda **given: list(_fake().stream(QUESTION, **given)),
        lambda **given: _fake().bind(**given),
        lambda **given: _fake().bind(max_tokens=3).bind(**given),
        lambda **given: _fake().batch([QUESTION], **given),
    ):
        with pytest.raises(UnknownArgumentError, match=f"'{wrong}'.* '{right}'"):
            call(**{wrong: "x"})


async def test_misspelt_argument_raises_in_async_calls() -> None:
    with pytest.raises(UnknownArgumentError):
        await _fake().ainvoke(QUESTION, adaptor="x")
    with pytest.raises(UnknownArgumentError):
        async for _ in _fake().astream(QUESTION, adaptor="x"):
            pass


def test_argument_like_no_other_lists_the_known_ones() -> None:
    with pytest.raises(UnknownArgumentError, match=r"Known are: .*soft_prompt"):
        ChatSoftPrompt(model="embedded", zzz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("word", ["format", "skip_prompt", "model_kwargs"])
def test_argument_of_another_chat_model_is_not_taken_for_one_that_only_looks_like_it(word: str) -> None:
    with pytest.raises(UnknownArgumentError, match="Known are: ") as caught:
        ChatSoftPrompt(model="embedded", **{word: "x"})
    assert "Did you mean" not in str(caught.value)


def test_format_of_a_call_is_its_response_format() -> None:
    with pytest.raises(UnknownArgumentError, match="Did you mean 'response_format'"):
        _fake().invoke(QUESTION, format="json")


def test_frozen_model_is_not_chosen_per_call() -> None:
    with pytest.raises(UnknownArgumentError, match="second ChatSoftPrompt"):
        _fake().invoke(QUESTION, model="other")


def test_other_names_mean_the_same() -> None:
    llm = ChatSoftPrompt(model_name="embedded", max_new_tokens=5)  # type: ignore[call-arg]
    assert (llm.model, llm.model_name, llm.max_tokens) == ("embedded", "embedded", 5)
    with pytest.raises(UnknownArgumentError, match="same argument"):
        ChatSoftPrompt(model="embedded", max_tokens=5, max_new_tokens=5)  # type: ignore[call-arg]


def test_model_may_be_a_path() -> None:
    assert ChatSoftPrompt(model=Path("here")).model_name == "here"


@pytest.mark.parametrize("choice", ["one-word", "a/b/c", "a/b@", "", "a/b#../c", 3, object()])
def test_soft_prompt_of_no_known_form_raises_at_construction_and_in_a_call(choice: Any) -> None:
    for call in (lambda: ChatSoftPrompt(model="embedded", soft_prompt=choice), lambda: _fake().invoke(QUESTION, soft_prompt=choice)):
        with pytest.raises(InvalidReferenceError):
            call()


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"max_tokens": 0},
        {"top_p": 0},
        {"top_k": -1},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0},
        {"seed": -1},
        {"timeout": 0},
        {"stop": [""]},
    ],
)
def test_setting_out_of_range_raises_at_construction_and_in_a_call(wrong: dict[str, Any]) -> None:
    for call in (lambda: ChatSoftPrompt(model="embedded", **wrong), lambda: _fake().invoke(QUESTION, **wrong)):
        with pytest.raises(InvalidSettingsError, match=next(iter(wrong)).split("_")[0]):
            call()


@pytest.mark.parametrize("wrong", [{"temperature": "hot"}, {"stop": [1]}, {"max_tokens": "many"}])
def test_setting_of_another_type_raises(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ChatSoftPrompt(model="embedded", **wrong)
    with pytest.raises(InvalidSettingsError):
        _fake().invoke(QUESTION, **wrong)


def test_quantization_that_is_not_known_raises_at_construction() -> None:
    with pytest.raises(InvalidSettingsError, match=r"quantization: expected None or one of int8, found 'int4'"):
        ChatSoftPrompt(model="embedded", quantization="int4")


def test_model_is_required() -> None:
    with pytest.raises(ValidationError, match="model"):
        ChatSoftPrompt()  # type: ignore[call-arg]


def test_settings_reach_the_engine_and_a_call_overrides_them() -> None:
    engine = FakeEngine()
    own = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2, "seed": 7}
    llm = ChatSoftPrompt(model="fake", engine=engine, max_tokens=9, **own)
    llm.invoke(QUESTION)
    llm.invoke(QUESTION, temperature=0, max_new_tokens=4, min_p=0.2, seed=None)
    first, second = (request.settings for request in engine.requests)
    assert first == GenerationSettings(max_new_tokens=9, **own)
    assert second == first.override(temperature=0, max_new_tokens=4, min_p=0.2)


def test_none_for_a_setting_is_its_default() -> None:
    llm = ChatSoftPrompt(model="embedded", temperature=None, max_tokens=None, min_p=None)  # type: ignore[arg-type]
    assert (llm.temperature, llm.max_tokens, llm.min_p) == (0.0, 256, 0.0)


def test_repr_is_short_and_tells_no_weights_and_no_key() -> None:
    llm = _fake(soft_prompt=tiny_soft_prompt(1), api_key="secret-key")
    assert "PREFIX_TUNING, 4 virtual tokens" in repr(llm)
    assert not any(word in repr(llm) for word in ("tensor", "FakeEngine", "secret-key"))
    assert len(repr(llm)) < 600


def test_building_one_loads_no_torch_and_reads_nothing() -> None:
    """In a new process, since this one has loaded torch for other tests."""
    program = (
        "import sys, builtins, io, os\n"
        "from langchain_softprompt import ChatSoftPrompt\n"
        "def refuse(event, args):\n"
        "    if event in ('open', 'socket.connect', 'socket.getaddrinfo') and watching: raise RuntimeError(f'{event} {args}')\n"
        "ChatSoftPrompt(model='embedded'); watching = True; sys.addaudithook(refuse)\n"
        "llm = ChatSoftPrompt(model='acme/model', soft_prompt='acme/clean-question@v2', temperature=0)\n"
        "llm.with_soft_prompt('./elsewhere').bind(max_tokens=3); repr(llm)\n"
        "watching = False; print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
