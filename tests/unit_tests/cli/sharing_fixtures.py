"""Where the commands that share soft prompts are tested: ``pytest_plugins`` names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from langchain_softprompt.cli.output import people
from langchain_softprompt.hub import set_policy
from langchain_softprompt.hub.pins import PINS
from tests.hub import TOKEN, LoopbackHub
from tests.unit_tests.cli.sharing import write


@pytest.fixture
def here(default_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """Logged in, in an empty folder with a soft prompt of one's own."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(people, "width", 160)
    PINS.forget()
    set_policy(None)
    write("own", 1)
    yield default_hub
    PINS.forget()
