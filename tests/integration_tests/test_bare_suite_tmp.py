"""LangChain's own standard tests on the embedded model, wearing the soft prompt that was trained to call tools.

What it was trained on is made by `benchmarks.tool_chats`; that nothing of the suite is in there is shown in
``tests/unit_tests/benchmarks/test_tool_chats.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessageChunk
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import close_all


class _Flags:
    """What is said to both suites: everything that text in and text out allows."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatSoftPrompt

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "embedded"}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return False  # one frozen model for each ChatSoftPrompt


class TestUnitSuite(_Flags, ChatModelUnitTests):
    pass


class TestIntegrationSuite(_Flags, ChatModelIntegrationTests):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _close_engine(cls) -> Iterator[None]:
        yield
        close_all()

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {**super().standard_chat_model_params, "max_tokens": 200, "temperature": 0}

    @property
    def supported_usage_metadata_details(self) -> dict[str, list[str]]:  # type: ignore[override] - theirs is a long Literal
        return {"invoke": ["cache_read_input"], "stream": ["cache_read_input"]}

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        """The same chat twice: the second time its head is not read again."""
        llm = ChatSoftPrompt(**self.chat_model_params, **self.standard_chat_model_params)
        chat = f"Here is a list of words: {', '.join(['river', 'garden', 'lantern'] * 40)}. Say good morning."
        llm.invoke(chat)
        if not stream:
            return llm.invoke(chat)
        whole: BaseMessageChunk | None = None
        for chunk in llm.stream(chat):
            whole = chunk if whole is None else whole + chunk
        assert isinstance(whole, AIMessage)
        return whole
