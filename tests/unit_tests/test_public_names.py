"""The public surface: ten names, no more, and light to import."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import langchain_softprompt

PUBLIC = [
    "ChatSoftPrompt",
    "Engine",
    "EngineLimits",
    "FrozenModel",
    "GenerationSettings",
    "SoftPrompt",
    "SoftPromptLLM",
    "TrainingSettings",
    "errors",
    "train",
]


def test_all_is_exactly_the_ten_public_names() -> None:
    assert langchain_softprompt.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_resolves_to_what_it_says(name: str) -> None:
    value = getattr(langchain_softprompt, name)
    if isinstance(value, ModuleType):
        assert value.__name__ == f"langchain_softprompt.{name}"
    else:
        assert value.__name__ == name


def test_dir_lists_the_public_names_and_the_version() -> None:
    assert {*PUBLIC, "__version__"} <= set(dir(langchain_softprompt))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'HardPrompt'"):
        _ = langchain_softprompt.HardPrompt


def test_importing_the_package_and_its_light_names_loads_no_torch() -> None:
    """In a new process, since this one may have loaded torch for another test."""
    program = (
        "import sys, langchain_softprompt as l; l.errors, l.GenerationSettings;"
        "print([m for m in ('torch', 'transformers', 'peft', 'langchain_core', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
