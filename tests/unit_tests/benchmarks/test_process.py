"""Contenders in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.__main__ import run_scenario
from benchmarks.bench import QUICK, Bench
from benchmarks.material import Material
from benchmarks.process import ContenderFailedError, ContenderProcess
from benchmarks.results import Scenario
from benchmarks.scenarios import SCENARIOS
from benchmarks.texts import Texts
from benchmarks.workload import Answer, Request


@pytest.fixture
def contender(tmp_path: Path) -> Iterator[ContenderProcess]:
    with ContenderProcess("tests.unit_tests.benchmarks.echo_contender", sys.executable, tmp_path / "log", timeout=60) as process:
        yield process


def test_a_contender_answers_whatever_its_libraries_print_and_goes_on_after_a_failure(contender: ContenderProcess) -> None:
    assert contender.ask("chatter") == "done"
    with pytest.raises(ContenderFailedError, match="no such luck"):
        contender.ask("fail")
    assert contender.answer([Request("a"), Request("b", "soft")], 4) == Answer(2.0, [4, 4], [3, 3])
    assert contender.ask("threads") == "1"


def test_a_contender_that_dies_is_an_error_that_tells_what_it_last_printed(contender: ContenderProcess) -> None:
    with pytest.raises(ContenderFailedError, match="last words"):
        contender.ask("die")
    with pytest.raises(ContenderFailedError):
        contender.ask("chatter")


def test_a_peer_that_is_not_there_is_reported_as_absent_with_the_reason_and_never_dropped_in_silence(tmp_path: Path) -> None:
    material = Material(tmp_path, {"one": ""}, 0)
    bench = Bench(QUICK, material, Texts(["a", "b"]), ["vllm"], {"vllm": tmp_path / "nowhere" / "python"}, tmp_path)
    assert bench.peer("vllm") is None
    assert bench.peer("peft") is None
    assert bench.seen["peft"] == {"present": False, "reason": "not asked for"}
    assert bench.seen["vllm"]["present"] is False
    assert "python" in bench.seen["vllm"]["reason"]
    assert str(tmp_path) not in bench.seen["vllm"]["reason"]


def test_a_request_is_the_same_on_the_other_side() -> None:
    request = Request("a question", "soft-0001", "a system message")
    assert Request.from_json(request.as_json()) == request
    assert [message["role"] for message in request.messages] == ["system", "user"]
    assert Request("alone").messages == [{"role": "user", "content": "alone"}]


def test_a_peer_that_fails_in_a_scenario_is_left_out_and_the_others_are_measured_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(QUICK, Material(tmp_path, {"one": ""}, 0), Texts(["a", "b"]), ["peft"], {}, tmp_path)
    bench.seen["peft"] = {"present": True, "versions": {}, "options": {}}

    def scenario(bench: Bench) -> Scenario:
        if bench.seen["peft"]["present"]:
            msg = "Traceback\n  ...\nValueError: no such adapter"
            raise ContenderFailedError(msg, "benchmarks.peers.peft")
        return Scenario("decode", "Decode", "tokens/s")

    def broken(bench: Bench) -> Scenario:
        msg = "our own fault"
        raise RuntimeError(msg)

    monkeypatch.setitem(SCENARIOS, "decode", scenario)
    monkeypatch.setitem(SCENARIOS, "memory", broken)
    assert run_scenario(bench, "decode").error is None
    assert bench.seen["peft"] == {"present": False, "reason": "failed at decode: ValueError: no such adapter"}
    assert run_scenario(bench, "memory").error == "RuntimeError: our own fault"
