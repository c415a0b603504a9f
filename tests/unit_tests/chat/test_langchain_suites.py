"""LangChain's own standard tests, with nothing left out that this release claims to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import close_all
from langchain_softprompt.testing import save_tiny_model, tiny_soft_prompt


class _Flags:
    """What is said to both suites."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatSoftPrompt

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return False  # one frozen model for each ChatSoftPrompt


class TestUnitSuite(_Flags, ChatModelUnitTests):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "embedded", "soft_prompt": "acme/clean-question@v2"}


class TestIntegrationSuite(_Flags, ChatModelIntegrationTests):
    """Against a real, if tiny, frozen model in a folder, loaded through the process-wide registry."""

    @property
    def has_tool_calling(self) -> bool:
        return False  # random weights don't know when to call which tool; that calls hold where they must is in test_forced_tools

    folders: tuple[str, str]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _save_folders(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        root = tmp_path_factory.mktemp("tiny-model")
        cls.folders = str(save_tiny_model(root / "model")), str(tiny_soft_prompt(1).save(root / "prompt"))
        yield
        close_all()

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        # Sampling, as a random model's likeliest letter is the same for ever, and no text in quotes would end.
        return {**super().standard_chat_model_params, "max_tokens": 1000, "temperature": 1.0, "seed": 1}

    @property
    def chat_model_params(self) -> dict[str, Any]:
        model, soft_prompt = self.folders
        return {"model": model, "soft_prompt": soft_prompt}
