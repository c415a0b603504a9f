"""The GGUF conversion among processes: two at once, and one that is killed half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("gguf", reason="reading GGUF is an extra")
from tests.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.slow

_LOAD = "import sys; from langchain_softprompt.frozen_model import FrozenModel; print(FrozenModel.load(sys.argv[1]).fingerprint)"
_WITH_LOG = "import logging; logging.basicConfig(level='INFO');" + _LOAD
_HANGS_BEFORE_THE_END = "import time, transformers as t; t.PreTrainedModel.save_pretrained = lambda *_, **__: time.sleep(3600);" + _LOAD


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANGCHAIN_SOFTPROMPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def _start(program: str, file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _folders(models: Path) -> list[str]:
    return sorted(entry.name for entry in models.iterdir() if entry.is_dir()) if models.exists() else []


def test_two_processes_at_once_convert_once_and_agree(tmp_path: Path, models: Path) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    started = [_start(_WITH_LOG, file) for _ in range(2)]
    said = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert said[0][0] == said[1][0] != ""
    assert sum(log.count("INFO:langchain_softprompt.frozen_model.gguf:Converting") for _, log in said) == 1
    assert len(_folders(models)) == 1


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_process_killed_half_way_leaves_nothing_that_the_next_one_takes_for_whole(tmp_path: Path, models: Path) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    process = _start(_HANGS_BEFORE_THE_END, file)
    while not _folders(models) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = _folders(models)
    assert len(left) == 1
    assert left[0].startswith("."), "half a model must not have a whole one's name"
    out, log = _start(_LOAD, file).communicate()
    assert len(out.strip()) == 64, log
    assert len(_folders(models)) == 1
    assert not _folders(models)[0].startswith(".")
