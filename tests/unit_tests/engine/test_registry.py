"""The registry: one load per model for the whole process, failed loads forgotten, forked children refused."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from langchain_softprompt.engine import Engine, close_all, get_engine
from langchain_softprompt.errors import FrozenModelError, InvalidSettingsError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import EngineLimits, GenerationSettings
from tests.unit_tests.engine.conftest import engine_threads
from tests.unit_tests.engine.tiny import VOCAB, build, generate, shared, tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as files."""
    path = tmp_path_factory.mktemp("tiny-llama")
    build("llama").model.save_pretrained(path)
    words = Tokenizer(WordLevel({f"w{n}": n for n in range(VOCAB)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(path)
    return path


@pytest.fixture(autouse=True)
def _closed_after() -> Iterator[None]:
    yield
    close_all()
    assert not engine_threads()


def test_the_same_model_gives_the_same_engine_and_it_works(folder: Path) -> None:
    engine = get_engine(folder)
    assert get_engine(str(folder)) is engine
    assert get_engine(folder / ".." / folder.name) is engine
    result = engine.submit(tokens(4), settings=GenerationSettings(max_new_tokens=5)).result()
    assert list(result.token_ids) == generate(shared("llama"), tokens(4), new=5)


def test_another_dtype_is_another_engine(folder: Path) -> None:
    assert get_engine(folder, dtype="bfloat16") is not get_engine(folder, dtype="float32")


def test_threads_that_ask_at_once_load_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[object] = []
    load = FrozenModel.load.__func__
    together = threading.Barrier(8)

    def counted(cls: type[FrozenModel], *given: object, **named: object) -> FrozenModel:
        loads.append(given)
        return load(cls, *given, **named)

    monkeypatch.setattr(FrozenModel, "load", classmethod(counted))
    engines: list[Engine] = []

    def ask() -> None:
        together.wait()
        engines.append(get_engine(folder))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(engines) == 8
    assert len(set(map(id, engines))) == 1


def test_a_failed_load_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "comes-later"
    place.mkdir()
    with pytest.raises(FrozenModelError):
        get_engine(place)
    for file in folder.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    assert not get_engine(place).closed


def test_an_engine_that_was_closed_is_replaced(folder: Path) -> None:
    first = get_engine(folder)
    first.close()
    second = get_engine(folder)
    assert second is not first
    assert not second.closed


def test_other_limits_for_a_running_engine_are_refused_not_ignored(folder: Path) -> None:
    limits = EngineLimits(max_rows=3)
    engine = get_engine(folder, limits=limits)
    assert get_engine(folder) is engine
    assert get_engine(folder, limits=limits) is engine
    with pytest.raises(InvalidSettingsError, match=r"runs already.*max_rows=3"):
        get_engine(folder, limits=EngineLimits(max_rows=4))


def test_close_all_lets_go_of_the_models(folder: Path) -> None:
    engine = get_engine(folder)
    close_all()
    close_all()
    assert engine.closed
    assert engine.model.model is None


_FORK = """
import os, sys
from langchain_softprompt.engine import close_all, get_engine
from langchain_softprompt.errors import EngineClosedError, FrozenModelError

def fork():
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        get_engine("./no-such-model")
    except EngineClosedError:
        os._exit(10)
    except FrozenModelError:
        os._exit(20)
    os._exit(30)

before = fork()
get_engine(sys.argv[1])
print(before, fork())
close_all()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_may_load_only_if_its_parent_had_not(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FORK, str(folder)], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.split() == ["20", "10"], done.stderr
