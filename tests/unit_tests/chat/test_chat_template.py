"""A chat template of one's own."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.errors import ChatTemplateError
from langchain_softprompt.testing import FakeEngine, tiny_tokenizer

SHOUT = "{% for message in messages %}{{ message.content | upper }}!{% endfor %}"


def engine_of(template: str | None) -> FakeEngine:
    """An engine whose tokenizer has that template."""
    tokenizer: Any = tiny_tokenizer()
    tokenizer.chat_template = template
    return FakeEngine(["one", "two"], tokenizer=tokenizer)


def test_without_one_the_error_says_how_to_give_it() -> None:
    """Base models come without."""
    with pytest.raises(ChatTemplateError, match=r"chat_template="):
        ChatSoftPrompt(model="fake", engine=engine_of(None)).invoke("Hi")


@pytest.mark.parametrize("own", [None, "{{ 'other' }}"])
def test_the_given_template_is_used(own: str | None) -> None:
    """Whether the model has one or not; tokens are counted by it, and soft prompts keep it."""
    engine = engine_of(own)
    llm = ChatSoftPrompt(model="fake", engine=engine, chat_template=SHOUT)
    llm.with_soft_prompt(None).invoke("Hi")
    assert engine.requests[0].prompt == "HI!"
    assert llm.get_num_tokens_from_messages([HumanMessage("Hi")]) == 3


def test_others_on_the_same_engine_keep_the_model_s_own() -> None:
    """The tokenizer is shared, the template is not; neither are cached answers."""
    engine, cache = engine_of("plain"), InMemoryCache()
    answers = [ChatSoftPrompt(model="fake", engine=engine, cache=cache, chat_template=own).invoke("Hi").text for own in (SHOUT, None)]
    assert [request.prompt for request in engine.requests] == ["HI!", "plain"]
    assert answers == ["one", "two"]


def test_a_template_that_can_not_be_read_is_a_typed_error() -> None:
    """Not Jinja's own."""
    with pytest.raises(ChatTemplateError):
        ChatSoftPrompt(model="fake", engine=engine_of(None), chat_template="{% if").invoke("Hi")


# As Mistral's templates have done since v0.3: the system message goes before the last message, if that is the user's.
BEFORE_THE_LAST = (
    "{% set system = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% for message in messages if message.role != 'system' %}"
    "{% if loop.last and message.role == 'user' %}{{ system }} {% endif %}<{{ message.role }}>{{ message.content }}"
    "{% endfor %}"
)


@pytest.mark.parametrize(
    "rest",
    [
        [HumanMessage("Hi"), AIMessage("Hello. It is")],
        [
            HumanMessage("Hi"),
            AIMessage("", tool_calls=[{"name": "clock", "args": {}, "id": "123456789"}]),
            ToolMessage("noon", tool_call_id="123456789"),
        ],
        [],
    ],
)
def test_a_system_message_that_the_template_passes_over_is_put_to_the_users(rest: list[BaseMessage]) -> None:
    """In silence it would be an answer to another prompt."""
    engine = engine_of(BEFORE_THE_LAST)
    ChatSoftPrompt(model="fake", engine=engine).invoke([SystemMessage("Be brief."), *rest])
    assert "Be brief." in engine.requests[0].prompt


def test_a_system_message_that_the_template_takes_stays_where_it_puts_it() -> None:
    """Though it may trim it, or write it in another way."""
    chat = [SystemMessage(" Be brief. "), HumanMessage("Hi")]
    for template in (BEFORE_THE_LAST, SHOUT):
        engine = engine_of(template)
        ChatSoftPrompt(model="fake", engine=engine).invoke(chat)
        assert engine.requests[0].prompt in (" Be brief.  <user>Hi", " BE BRIEF. !HI!")
