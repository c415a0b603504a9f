"""In float32, greedy: the engine in this process and a vLLM server give the same answers, whatever soft prompts are mixed."""

from __future__ import annotations

import asyncio
import json

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage

from langchain_softprompt import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.remote import VLLMEngine
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import SoftPrompt

SoftPrompts = dict[str, SoftPrompt | None]
QUESTIONS = (
    "What is the capital of France?",
    "Are um is my new card, no wait, my old card still valid?",
    "Say something about cats. 猫について。",
    "List three colours, and then three more, and tell which of them you like best and why that is so.",
)
# Natural-log probabilities of whole labels, a few tokens each; both sides compute in float32, in other orders.
TOLERANCE = 2e-3


def _facts(message: AIMessage) -> dict[str, object]:
    usage = dict(message.usage_metadata or {})
    usage.pop("input_token_details", None)  # what was cached is each engine's own business
    return {"text": message.text, "usage": usage, "finish": message.response_metadata["finish_reason"], "calls": message.tool_calls}


@pytest.mark.parametrize("time", ["cold", "cached"])
async def test_all_types_mixed_in_one_batch_get_the_tokens_that_each_gets_here(
    time: str, engine: Engine, remote: VLLMEngine, soft_prompts: SoftPrompts
) -> None:
    settings = GenerationSettings(max_new_tokens=24)
    tokenizer = engine.model.tokenizer
    asked = []
    for question in QUESTIONS:
        chat = [{"role": "user", "content": question}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        asked += [(ids, soft_prompt) for soft_prompt in soft_prompts.values()]
    there = [remote.submit(ids, soft_prompt=soft_prompt, settings=settings) for ids, soft_prompt in asked]
    found = await asyncio.gather(*(one.wait() for one in there))
    expected = [engine.submit(ids, soft_prompt=soft_prompt, settings=settings).result() for ids, soft_prompt in asked]
    assert [(one.token_ids, one.finish_reason) for one in found] == [(one.token_ids, one.finish_reason) for one in expected]
    assert len({one.token_ids for one in expected}) > len(QUESTIONS)  # soft prompts make a difference
    if time == "cached":
        assert sum(one.cached_tokens for one in found) > sum(one.virtual_tokens for one in found)


def test_a_batch_of_chats_gives_the_same_messages(here: ChatSoftPrompt, there: ChatSoftPrompt, soft_prompts: SoftPrompts) -> None:
    chats = [[SystemMessage("Be brief."), HumanMessage(question)] for question in QUESTIONS]
    for soft_prompt in soft_prompts.values():
        found = there.with_soft_prompt(soft_prompt).batch(chats)
        expected = here.with_soft_prompt(soft_prompt).batch(chats)
        assert [_facts(one) for one in found] == [_facts(one) for one in expected]


async def test_streams_give_the_same_text_and_usage_on_one_chunk(
    here: ChatSoftPrompt, there: ChatSoftPrompt, soft_prompts: SoftPrompts
) -> None:
    for soft_prompt in soft_prompts.values():
        dressed, expected = there.with_soft_prompt(soft_prompt), here.with_soft_prompt(soft_prompt).invoke(QUESTIONS[0])
        chunks = list(dressed.stream(QUESTIONS[0]))
        further = [chunk async for chunk in dressed.astream(QUESTIONS[0])]
        for pieces in (chunks, further):
            assert "".join(piece.text for piece in pieces) == expected.text
            assert len([piece for piece in pieces if isinstance(piece, AIMessageChunk) and piece.usage_metadata]) == 1


def test_stop_strings_end_an_answer_in_the_same_place(here: ChatSoftPrompt, there: ChatSoftPrompt) -> None:
    found, expected = (one.invoke(QUESTIONS[0], stop=["capital"]) for one in (there, here))
    assert _facts(found) == _facts(expected)
    assert found.response_metadata["finish_reason"] == "stop_sequence"


def test_labels_get_the_same_probabilities(here: ChatSoftPrompt, there: ChatSoftPrompt, soft_prompts: SoftPrompts) -> None:
    labels = ["refund", "card lost", "exchange rate", "top up failed"]
    for soft_prompt in soft_prompts.values():
        found, expected = (one.with_soft_prompt(soft_prompt).with_choices(labels).invoke(QUESTIONS[1]) for one in (there, here))
        assert found.label == expected.label
        assert found.log_probs == pytest.approx(expected.log_probs, abs=TOLERANCE)


def test_log_probabilities_of_an_answer_are_the_same(here: ChatSoftPrompt, there: ChatSoftPrompt, soft_prompts: SoftPrompts) -> None:
    for soft_prompt in soft_prompts.values():
        found, expected = (
            one.with_soft_prompt(soft_prompt).invoke(QUESTIONS[0], logprobs=True, top_logprobs=3).response_metadata["logprobs"]["content"]
            for one in (there, here)
        )
        assert [entry["token"] for entry in found] == [entry["token"] for entry in expected]
        assert [entry["logprob"] for entry in found] == pytest.approx([entry["logprob"] for entry in expected], abs=TOLERANCE)


def test_structured_output_is_held_to_the_same_grammar(here: ChatSoftPrompt, there: ChatSoftPrompt, soft_prompts: SoftPrompts) -> None:
    schema = {
        "title": "City",
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "large": {"type": "boolean"}, "kind": {"enum": ["old", "new"]}},
        "required": ["name", "large", "kind"],
    }
    for soft_prompt in soft_prompts.values():
        found, expected = (
            one.with_soft_prompt(soft_prompt).with_structured_output(schema, include_raw=True).invoke(QUESTIONS[0], max_tokens=64)
            for one in (there, here)
        )
        assert found["raw"].text == expected["raw"].text
        assert set(json.loads(found["raw"].text)) == {"name", "large", "kind"}


def test_tools_are_called_with_the_same_arguments(here: ChatSoftPrompt, there: ChatSoftPrompt, later: SoftPrompt) -> None:
    weather = {
        "title": "river_level",
        "description": "How high a river stands.",
        "type": "object",
        "properties": {"river": {"type": "string"}, "unit": {"enum": ["cm", "ft"]}},
        "required": ["river", "unit"],
    }
    dressed = [one.with_soft_prompt(later).bind_tools([weather], tool_choice="any") for one in (there, here)]
    found, expected = (one.invoke("How high is the Rhine, in cm?", max_tokens=64) for one in dressed)
    assert [(call["name"], call["args"]) for call in found.tool_calls] == [(call["name"], call["args"]) for call in expected.tool_calls]
    assert found.tool_calls


def test_a_soft_prompt_copied_there_later_is_worn_without_a_restart(here: ChatSoftPrompt, there: ChatSoftPrompt, later: SoftPrompt) -> None:
    found, expected = (one.with_soft_prompt(later).invoke(QUESTIONS[0]) for one in (there, here))
    assert _facts(found) == _facts(expected)
