"""The scheduler: first come first served, bounded, cancellable, and free of torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_softprompt.errors import EngineBusyError
from langchain_softprompt.scheduler import Scheduler


def _scheduler(max_rows: int = 2, max_queue: int = 3) -> Scheduler[str]:
    return Scheduler(max_rows=max_rows, max_queue=max_queue)


def test_requests_are_admitted_in_the_order_they_came() -> None:
    scheduler = _scheduler()
    for name in "abcd":
        scheduler.submit(name)
    assert scheduler.admit() == ["a", "b"]
    scheduler.finish("b")
    assert scheduler.admit() == ["c"]
    assert scheduler.running == ("a", "c")
    assert scheduler.waiting == ("d",)


def test_nothing_is_admitted_while_all_rows_are_taken() -> None:
    scheduler = _scheduler(max_rows=1)
    scheduler.submit("a")
    scheduler.submit("b")
    assert scheduler.admit() == ["a"]
    assert scheduler.admit() == []


def test_one_request_more_than_rows_and_queue_hold_is_refused_with_the_numbers() -> None:
    scheduler = _scheduler(max_rows=1, max_queue=2)
    for name in "abc":
        scheduler.submit(name)
    scheduler.admit()
    with pytest.raises(EngineBusyError, match=r"1 requests run \(max_rows=1\) and 2 wait \(max_queue=2\).*Try again later"):
        scheduler.submit("d")
    scheduler.finish("a")
    scheduler.submit("d")


def test_a_withdrawn_request_leaves_the_queue_and_its_place_is_free() -> None:
    scheduler = _scheduler(max_rows=1, max_queue=1)
    scheduler.submit("a")
    scheduler.submit("b")
    assert scheduler.withdraw("b")
    assert not scheduler.withdraw("b")
    scheduler.submit("c")
    assert scheduler.admit() == ["a"]
    assert scheduler.waiting == ("c",)


def test_a_running_request_can_not_be_withdrawn_only_finished() -> None:
    scheduler = _scheduler()
    scheduler.submit("a")
    scheduler.admit()
    assert not scheduler.withdraw("a")
    scheduler.finish("a")
    scheduler.finish("a")
    assert len(scheduler) == 0


def test_clear_returns_every_request_running_ones_first() -> None:
    scheduler = _scheduler(max_rows=1)
    for name in "ab":
        scheduler.submit(name)
    scheduler.admit()
    assert scheduler.clear() == ["a", "b"]
    assert len(scheduler) == 0


@settings(deadline=None)
@given(st.lists(st.sampled_from(["submit", "admit", "withdraw", "finish"]), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_limits_hold_and_order_is_kept_under_any_sequence_of_calls(calls: list[str], max_rows: int, max_queue: int) -> None:
    scheduler: Scheduler[int] = Scheduler(max_rows=max_rows, max_queue=max_queue)
    admitted: list[int] = []
    for number, call in enumerate(calls):
        if call == "submit":
            try:
                scheduler.submit(number)
            except EngineBusyError:
                assert len(scheduler) == max_rows + max_queue
        elif call == "admit":
            admitted += scheduler.admit()
        elif call == "withdraw" and scheduler.waiting:
            scheduler.withdraw(scheduler.waiting[number % len(scheduler.waiting)])
        elif call == "finish" and scheduler.running:
            scheduler.finish(scheduler.running[number % len(scheduler.running)])
        assert len(scheduler.running) <= max_rows
        assert len(scheduler) <= max_rows + max_queue
        assert not set(scheduler.running) & set(scheduler.waiting)
    assert admitted == sorted(admitted)


def test_importing_the_scheduler_loads_no_torch() -> None:
    code = "import sys, langchain_softprompt.scheduler; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_request_of_two_rows_takes_the_room_of_two_and_runs_alone_where_there_is_only_one() -> None:
    asked: list[tuple[int, int]] = []

    def fits(rows: int, longest: int) -> bool:
        asked.append((rows, longest))
        return True

    scheduler: Scheduler[str] = Scheduler(max_rows=3, max_queue=9, size=len, rows=lambda name: 2 if name.isupper() else 1, fits=fits)
    for name in ("A", "bb", "C"):
        scheduler.submit(name)
    asked.clear()
    assert scheduler.admit() == ["A", "bb"]
    assert asked == [(3, 2)]
    scheduler.finish("A")
    assert scheduler.admit() == ["C"]
    alone: Scheduler[str] = Scheduler(max_rows=1, max_queue=9, rows=lambda _: 2)
    alone.submit("A")
    alone.submit("B")
    assert alone.admit() == ["A"]
    assert alone.admit() == []
