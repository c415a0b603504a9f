"""A soft prompt that has drifted is told of once, wherever it is first compiled; nothing else is ever in the way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from langchain_softprompt.chat_models import ChatSoftPrompt
from langchain_softprompt.engine import Engine
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.passes import RowPart
from langchain_softprompt.prefix import compile_prefix, record_probes, with_probes
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.soft_prompt import BaseModelRecord, Manifest, ProbeRecord, ProbesRecord, SoftPrompt
from langchain_softprompt.testing import tiny_model, tiny_soft_prompt
from tests.unit_tests.engine.tiny import build, embedding_prompt, key_value_prompt, tokens, without_prefixes

CHATS = [[{"role": "user", "content": question}] for question in ("What is a soft prompt?", "Hello there", "7 times 8")]
LOGGER = "langchain_softprompt.prefix.probe_watch"
SETTINGS = GenerationSettings(max_new_tokens=4)


class CountingPasses:
    """A model's own passes, with a count of the positions they read as text behind a soft prompt."""

    def __init__(self, model: FrozenModel) -> None:
        self._passes = model.passes
        self.positions = 0
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._passes, name)

    def read(self, parts: Sequence[RowPart]) -> list[torch.Tensor | None]:
        self.positions += sum(part.length for part in parts)
        self.reads += 1
        return self._passes.read(parts)


@pytest.fixture
def model() -> FrozenModel:
    return tiny_model()


class Warnings(logging.Handler):
    """What was said of probes, as text."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    handler = Warnings()
    logging.getLogger(LOGGER).addHandler(handler)
    yield handler.said
    logging.getLogger(LOGGER).removeHandler(handler)


def _counted(model: FrozenModel) -> CountingPasses:
    passes = CountingPasses(model)
    model.passes = passes  # type: ignore[assignment]
    return passes


def _drifted(model: FrozenModel, seed: int = 1) -> SoftPrompt:
    """With the probes of other numbers."""
    recorded = with_probes(tiny_soft_prompt(seed), model, CHATS)
    tensors = {"prompt_embeddings": 1.1 * tiny_soft_prompt(seed).tensors["prompt_embeddings"]}
    return replace(recorded, tensors=tensors, source="acme/old")


def _hostile(model: FrozenModel, *probes: dict[str, Any]) -> SoftPrompt:
    record = ProbesRecord(probes=[ProbeRecord(**probe) for probe in probes])
    base = BaseModelRecord(id="tiny", fingerprint=model.fingerprint)
    return replace(tiny_soft_prompt(1), manifest=Manifest(base_model=base, method="test", probes=record), source="acme/strange")


def test_compiling_a_soft_prompt_that_is_the_same_says_nothing(model: FrozenModel, warnings: list[str]) -> None:
    passes = _counted(model)
    soft_prompt = with_probes(tiny_soft_prompt(1), model, CHATS)
    before = passes.reads
    compile_prefix(model, soft_prompt)
    assert passes.reads == before + 1, "all probes are read in one pass"
    assert not warnings


def test_drift_is_told_once_with_how_much_and_what_to_do(model: FrozenModel, warnings: list[str]) -> None:
    soft_prompt = _drifted(model)
    for _ in range(3):
        compile_prefix(model, soft_prompt)
    (message,) = warnings
    assert "The soft prompt acme/old has drifted on tiny: log-probabilities are off by" in message
    assert "(allowed 0.005: float32 then, float32 now)" in message
    assert f"torch {torch.__version__}" in message
    assert message.endswith("Look closer: langchain-softprompt check acme/old --model tiny --dtype float32")


def test_a_broken_soft_prompt_compiles_and_is_called_broken(model: FrozenModel, warnings: list[str]) -> None:
    other = replace(with_probes(tiny_soft_prompt(1), model, CHATS), tensors=tiny_soft_prompt(11).tensors)
    assert compile_prefix(model, other).length == 4
    assert "is broken on tiny" in warnings[0]


def test_another_model_in_the_same_process_is_told_of_by_itself(warnings: list[str]) -> None:
    soft_prompt = _drifted(tiny_model())
    for _ in range(2):
        compile_prefix(tiny_model(), soft_prompt)
    assert len(warnings) == 2


def test_threads_that_compile_at_once_cause_one_warning(model: FrozenModel, warnings: list[str]) -> None:
    soft_prompt, barrier = _drifted(model), threading.Barrier(8)

    def compile_with_others() -> None:
        barrier.wait()
        compile_prefix(model, soft_prompt)

    threads = [threading.Thread(target=compile_with_others) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(warnings) == 1


@pytest.mark.parametrize("probes", [None, ProbesRecord()])
def test_without_probes_nothing_is_read_nor_even_hashed(
    model: FrozenModel, probes: ProbesRecord | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = BaseModelRecord(id="tiny", fingerprint=model.fingerprint)
    for manifest in (None, Manifest(base_model=base, method="test", probes=probes)):
        soft_prompt = replace(tiny_soft_prompt(1), manifest=manifest)
        passes = _counted(model)
        monkeypatch.setattr(SoftPrompt, "content_hash", property(lambda _: pytest.fail("hashed")))
        compile_prefix(model, soft_prompt)
        assert passes.reads == 0


def test_the_engine_warns_once_before_its_first_answer_and_answers_all_the_same(model: FrozenModel, warnings: list[str]) -> None:
    soft_prompt = _drifted(model)
    without = replace(soft_prompt, manifest=None)
    with Engine(model) as engine:
        expected = engine.submit(tokens(9), soft_prompt=without, settings=SETTINGS).result().token_ids
    with Engine(model) as engine:
        stream = engine.stream(tokens(9), soft_prompt=soft_prompt, settings=SETTINGS)
        first = next(stream)
        assert len(warnings) == 1
        assert (first, *stream) == expected
        running = [engine.submit(tokens(9, seed), soft_prompt=soft_prompt, settings=SETTINGS) for seed in range(6)]
        assert running[0].result().token_ids == expected
        assert all(len(one.result().token_ids) == 4 for one in running)
    assert len(warnings) == 1


def test_requests_that_arrive_together_in_the_engine_cause_one_warning(model: FrozenModel, warnings: list[str]) -> None:
    soft_prompt = _drifted(model)
    with Engine(model) as engine:
        running = [engine.submit(tokens(20, seed), soft_prompt=soft_prompt, settings=SETTINGS) for seed in range(8)]
        for one in running:
            one.result()
    assert len(warnings) == 1


@pytest.mark.parametrize("way", ["slotted, embeddings", "slotted, keys and values", "snapshot", "reread"])
def test_the_engine_reads_probes_in_every_way_that_models_are_served(way: str, warnings: list[str]) -> None:
    """A record made by `compile_prefix` is the same for the engine; numbers that differ are told of, once."""
    model = build("lfm2" if way == "snapshot" else "llama")
    model = without_prefixes(model) if way == "reread" else model
    soft_prompt = key_value_prompt(model, 4) if way.endswith("values") else embedding_prompt(4)
    record = record_probes(model, compile_prefix(model, soft_prompt), [([], tokens(7)), ([], tokens(12))])
    base = BaseModelRecord(id="tiny", fingerprint=model.fingerprint)
    same = replace(soft_prompt, manifest=Manifest(base_model=base, method="test", probes=record))
    other = replace(same, tensors={"prompt_embeddings": 1.5 * soft_prompt.tensors["prompt_embeddings"]})
    with Engine(model) as engine:
        for _ in range(2):
            engine.submit(tokens(9), soft_prompt=same, settings=SETTINGS).result()
        assert not warnings
        for _ in range(2):
            engine.submit(tokens(9), soft_prompt=other, settings=SETTINGS).result()
    assert len(warnings) == 1


def test_a_chat_warns_once_whatever_it_is_asked(model: FrozenModel, warnings: list[str]) -> None:
    soft_prompt = _drifted(model)
    with Engine(model) as engine:
        llm = ChatSoftPrompt(model="tiny", engine=engine, max_tokens=4).with_soft_prompt(soft_prompt)
        assert len(llm.invoke("Hello").text) > 0
        assert "acme/old has drifted" in warnings[0]
        llm.batch(["Hello", "What?", "Who?"])
    assert len(warnings) == 1


@pytest.mark.parametrize(
    "probe",
    [
        {"token_ids": [1 << 52], "next_ids": [1], "log_probs": [-0.5]},
        {"token_ids": [1], "next_ids": [1 << 52], "log_probs": [-0.5]},
        {"token_ids": [1] * 4000, "next_ids": [1], "log_probs": [-0.5]},
        {"token_ids": [1], "next_ids": [1], "log_probs": [-1e6]},
    ],
    ids=["unknown token", "unknown answer", "longer than the context", "an impossible probability"],
)
def test_a_strangers_probes_never_get_in_the_way_of_a_request(model: FrozenModel, probe: dict[str, Any], warnings: list[str]) -> None:
    """One warning that says what is wrong with them, and the answer of a soft prompt without."""
    soft_prompt = _hostile(model, probe)
    with Engine(model) as engine:
        expected = engine.submit(tokens(9), soft_prompt=tiny_soft_prompt(1), settings=SETTINGS).result().token_ids
    with Engine(model) as engine:
        for _ in range(2):
            assert engine.submit(tokens(9), soft_prompt=soft_prompt, settings=SETTINGS).result().token_ids == expected
    (message,) = warnings
    assert "acme/strange" in message


def test_no_more_than_a_chunk_is_read_unasked_however_long_the_probes(model: FrozenModel) -> None:
    probe = {"token_ids": [1] * 100, "next_ids": [1], "log_probs": [-0.5]}
    passes = _counted(model)
    compile_prefix(model, _hostile(model, *[probe] * 16))
    assert 0 < passes.positions <= 256
    passes = _counted(model)
    compile_prefix(model, replace(_hostile(model, {**probe, "token_ids": [1] * 2000}), tensors=tiny_soft_prompt(2).tensors))
    assert passes.positions == 0


def test_control_characters_in_a_strangers_versions_stay_out_of_the_log(model: FrozenModel, warnings: list[str]) -> None:
    soft_prompt = _hostile(model, {"token_ids": [1], "next_ids": [1], "log_probs": [-0.5]})
    record = soft_prompt.manifest.probes.model_copy(update={"torch": "9\n\x1b[31mERROR all is lost", "dtype": "\x1b[31m"})
    compile_prefix(model, replace(soft_prompt, manifest=soft_prompt.manifest.model_copy(update={"probes": record})))
    (message,) = warnings
    assert message.isprintable()
    assert "9\\n\\x1b[31mERROR all is lost" in message


def test_a_failure_while_probes_are_read_is_told_and_not_raised(model: FrozenModel, warnings: list[str]) -> None:
    soft_prompt = with_probes(tiny_soft_prompt(1), model, CHATS)
    passes = _counted(model)
    passes.read = lambda _: (_ for _ in ()).throw(MemoryError("none left"))  # type: ignore[method-assign]
    compile_prefix(model, soft_prompt)
    assert "The probes of the soft prompt in-memory can't be read on tiny: none left" in warnings[0]
