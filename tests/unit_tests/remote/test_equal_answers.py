"""A chain says the same on vLLM servers as on the engine in this process, whatever the soft prompt is made of."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from langchain_softprompt import ChatSoftPrompt, SoftPromptLLM
from langchain_softprompt.engine import Engine
from langchain_softprompt.soft_prompt import SoftPrompt
from tests.unit_tests.remote.conftest import MakeEngine
from tests.unit_tests.remote.shared import KINDS, STORED
from tests.vllm import LoopbackVLLM

QUESTION = "What is a soft prompt?"
QUESTIONS = ["What?", "Who are you?", "Why is the sky blue?"]


@pytest.fixture
def both(folder: Path, vllm: LoopbackVLLM, here: Engine, make: MakeEngine) -> tuple[ChatSoftPrompt, ChatSoftPrompt]:
    """The same chat model there and here."""
    vllm.soft_prompts = {one.content_hash: one for one in STORED}
    there = ChatSoftPrompt(model=folder, engine=make(vllm, bind=False), max_tokens=12)
    return there, ChatSoftPrompt(model=folder, engine=here, max_tokens=12)


def _plain(message: AIMessage) -> dict[str, Any]:
    """A message without what differs from call to call, and without what was cached, which says how busy a server was."""
    told = message.model_dump(exclude={"id"})
    if told["usage_metadata"] is not None:
        told["usage_metadata"].pop("input_token_details", None)
    return told


kinds = pytest.mark.parametrize("soft_prompt", KINDS.values(), ids=KINDS.keys())


@kinds
def test_messages_usage_and_metadata_are_the_same(both: tuple[ChatSoftPrompt, ChatSoftPrompt], soft_prompt: SoftPrompt | None) -> None:
    there, here = (_plain(llm.with_soft_prompt(soft_prompt).invoke(QUESTION)) for llm in both)
    assert there == here
    assert there["content"]


@kinds
async def test_messages_are_the_same_in_an_event_loop(both: tuple[ChatSoftPrompt, ChatSoftPrompt], soft_prompt: SoftPrompt | None) -> None:
    there, here = [_plain(await llm.with_soft_prompt(soft_prompt).ainvoke(QUESTION)) for llm in both]
    assert there == here


@kinds
def test_streams_come_in_the_same_pieces(both: tuple[ChatSoftPrompt, ChatSoftPrompt], soft_prompt: SoftPrompt | None) -> None:
    there, here = ([chunk.text for chunk in llm.with_soft_prompt(soft_prompt).stream(QUESTION)] for llm in both)
    assert there == here
    assert len([text for text in there if text]) > 3


@kinds
async def test_streams_come_in_the_same_pieces_in_an_event_loop(
    both: tuple[ChatSoftPrompt, ChatSoftPrompt], soft_prompt: SoftPrompt | None
) -> None:
    there, here = [[chunk.text async for chunk in llm.with_soft_prompt(soft_prompt).astream(QUESTION)] for llm in both]
    assert there == here


def test_one_batch_holds_all_kinds_of_soft_prompts(both: tuple[ChatSoftPrompt, ChatSoftPrompt]) -> None:
    def answers(llm: ChatSoftPrompt) -> list[str]:
        given = [(llm.with_soft_prompt(kind), question) for kind in KINDS.values() for question in QUESTIONS]
        from langchain_core.runnables import RunnableLambda

        return RunnableLambda(lambda pair: pair[0].invoke(pair[1]).text).batch(given)

    there, here = map(answers, both)
    assert there == here
    assert len(set(there)) > len(QUESTIONS)


@kinds
def test_choices_have_the_same_log_probabilities_within_1e_4(
    both: tuple[ChatSoftPrompt, ChatSoftPrompt], soft_prompt: SoftPrompt | None
) -> None:
    labels = ["card", "card lost", "refund", "a"]
    there, here = (llm.with_soft_prompt(soft_prompt).with_choices(labels).invoke(QUESTION) for llm in both)
    assert there.label == here.label
    assert there.log_probs == pytest.approx(here.log_probs, abs=1e-4)
    assert there.probabilities == pytest.approx(here.probabilities, abs=1e-4)


@kinds
def test_log_probabilities_are_the_same_within_1e_4(both: tuple[ChatSoftPrompt, ChatSoftPrompt], soft_prompt: SoftPrompt | None) -> None:
    def told(llm: ChatSoftPrompt) -> list[dict[str, Any]]:
        message = llm.with_soft_prompt(soft_prompt).invoke(QUESTION, top_logprobs=3, temperature=1.5, seed=7)
        return list(message.response_metadata["logprobs"]["content"])

    there, here = map(told, both)
    assert [one["token"] for one in there] == [one["token"] for one in here]
    for one, other in zip(there, here, strict=True):
        assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-4)
        assert [top["token"] for top in one["top_logprobs"]] == [top["token"] for top in other["top_logprobs"]]
        assert [top["logprob"] for top in one["top_logprobs"]] == pytest.approx([top["logprob"] for top in other["top_logprobs"]], abs=1e-4)


class Ticket(BaseModel):
    kind: Literal["card", "loan"]
    urgent: bool


@kinds
def test_structured_output_is_the_same(both: tuple[ChatSoftPrompt, ChatSoftPrompt], soft_prompt: SoftPrompt | None) -> None:
    there, here = (
        llm.with_soft_prompt(soft_prompt).model_copy(update={"max_tokens": 60}).with_structured_output(Ticket).invoke(QUESTION)
        for llm in both
    )
    assert there == here
    assert isinstance(there, Ticket)


@kinds
def test_tool_calls_are_the_same(both: tuple[ChatSoftPrompt, ChatSoftPrompt], soft_prompt: SoftPrompt | None) -> None:
    def freeze(card: Literal["old", "new"]) -> str:
        """Freeze a card."""
        return card

    there, here = (
        llm.with_soft_prompt(soft_prompt).model_copy(update={"max_tokens": 120}).bind_tools([freeze], tool_choice="any").invoke(QUESTION)
        for llm in both
    )
    assert [{**call, "id": ""} for call in there.tool_calls] == [{**call, "id": ""} for call in here.tool_calls]
    assert [call["name"] for call in there.tool_calls] == ["freeze"]


@pytest.mark.parametrize("pattern", ["[a-c]{3}", "(ab)+", "x|xy"])
@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4])
def test_an_answer_ends_at_the_same_place_for_the_same_reason(
    both: tuple[ChatSoftPrompt, ChatSoftPrompt], pattern: str, max_tokens: int
) -> None:
    """Where the grammar lets nothing follow the last token that may come, that is a stop here, and no more than a length to vLLM."""
    asked = {"type": "grammar", "syntax": "regex", "definition": pattern}

    def ended(llm: ChatSoftPrompt) -> tuple[str, str]:
        try:
            message = llm.invoke(QUESTION, response_format=asked, max_tokens=max_tokens)
        except Exception as error:  # noqa: BLE001 - compared
            return type(error).__name__, str(error)
        return message.text, message.response_metadata["finish_reason"]

    there, here = map(ended, both)
    assert there == here


def test_stop_strings_end_answers_at_the_same_place(both: tuple[ChatSoftPrompt, ChatSoftPrompt]) -> None:
    whole = both[1].invoke(QUESTION).text
    there, here = (_plain(llm.invoke(QUESTION, stop=[whole[4:6]])) for llm in both)
    assert there == here
    assert there["content"] == whole[:4]


def test_sampled_answers_of_one_seed_are_the_same_while_the_server_samples_as_we_do(
    both: tuple[ChatSoftPrompt, ChatSoftPrompt],
) -> None:
    asked = {"temperature": 0.9, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2, "seed": 3}
    there, here = (llm.invoke(QUESTION, **asked).text for llm in both)
    assert there == here


def test_a_completion_model_continues_the_same(folder: Path, vllm: LoopbackVLLM, here: Engine, make: MakeEngine) -> None:
    vllm.soft_prompts = {one.content_hash: one for one in STORED}
    there = SoftPromptLLM(model=folder, engine=make(vllm, bind=False), max_tokens=8)
    local = SoftPromptLLM(model=folder, engine=here, max_tokens=8)
    for kind in KINDS.values():
        assert there.with_soft_prompt(kind).batch(QUESTIONS) == local.with_soft_prompt(kind).batch(QUESTIONS)


def test_a_chat_model_with_servers_goes_through_pickle(both: tuple[ChatSoftPrompt, ChatSoftPrompt]) -> None:
    there, here = both
    again = pickle.loads(pickle.dumps(there))  # noqa: S301 - our own bytes
    try:
        assert again.invoke(QUESTION).text == here.invoke(QUESTION).text
    finally:
        again.engine.close()


def test_the_profile_knows_the_context_once_the_model_is_known(both: tuple[ChatSoftPrompt, ChatSoftPrompt]) -> None:
    there, _ = both
    assert "max_input_tokens" not in (there.profile or {})
    there.invoke(QUESTION)
    assert there.with_soft_prompt(None).profile["max_input_tokens"] == 1024  # type: ignore[index]
