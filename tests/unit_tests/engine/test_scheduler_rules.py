"""The scheduler as a state machine: whatever happens in whatever order, no limit is passed and nobody starves."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from langchain_softprompt.engine.memory import RowBudget
from langchain_softprompt.errors import ContextLengthError, EngineBusyError
from langchain_softprompt.scheduler import Scheduler

Request = tuple[int, int]  # its number, in order of arrival, and the positions it may come to


class SchedulerRules(RuleBasedStateMachine):
    """Holds the scheduler against a list, with the engine's own budget of tokens and bytes."""

    @initialize(
        max_rows=st.integers(1, 4), max_queue=st.integers(1, 4), max_tokens=st.none() | st.integers(20, 120), columns=st.integers(140, 700)
    )
    def begin(self, max_rows: int, max_queue: int, max_tokens: int | None, columns: int) -> None:
        self.max_rows, self.max_queue = max_rows, max_queue
        self.budget = RowBudget(max_tokens, max_bytes=8 * columns + 7, bytes_per_position=8)
        self.scheduler: Scheduler[Request] = Scheduler(
            max_rows=max_rows, max_queue=max_queue, size=lambda request: request[1], fits=self.budget.fits
        )
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.arrived = 0

    @rule(size=st.integers(1, 130))
    def submit(self, size: int) -> None:
        try:
            self.budget.check_alone(size)  # as the engine does, so that one alone always fits
        except ContextLengthError:
            return
        request = (self.arrived, size)
        self.arrived += 1
        full = self._blocked([*self.waiting, request]) > self.max_queue
        try:
            self.scheduler.submit(request)
        except EngineBusyError:
            assert full
        else:
            assert not full
            self.waiting.append(request)

    def _blocked(self, line: list[Request]) -> int:
        """How many would still wait if the engine looked now."""
        running = list(self.running)
        while line and len(running) < self.max_rows:
            if running and not self.budget.fits(len(running) + 1, max(size for _, size in [*running, line[0]])):
                break
            running.append(line.pop(0))
        return len(line)

    @rule()
    def admit(self) -> None:
        self._admit()

    def _admit(self) -> list[Request]:
        admitted = self.scheduler.admit()
        assert admitted == self.waiting[: len(admitted)], "first come, first served"
        self.waiting = self.waiting[len(admitted) :]
        self.running += admitted
        if self.waiting and len(self.running) < self.max_rows:
            longest = max(size for _, size in [*self.running, self.waiting[0]])
            assert self.running, "a free engine takes whoever is first"
            assert not self.budget.fits(len(self.running) + 1, longest), "the first in line waits only when there is no room"
        return admitted

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.running))
        self.running.remove(request)
        self.scheduler.finish(request)
        assert not self.scheduler.withdraw(request)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel_one_that_waits(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(request)
        assert self.scheduler.withdraw(request)
        assert not self.scheduler.withdraw(request)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def withdraw_one_that_runs(self, data: st.DataObject) -> None:
        assert not self.scheduler.withdraw(data.draw(st.sampled_from(self.running)))

    @precondition(lambda self: self.waiting)
    @rule()
    def nobody_starves(self) -> None:
        """The last in line gets a row after no more ends than there are requests before it, even if others keep coming."""
        last = self.waiting[-1]
        ends = 0
        while last not in self._admit():
            assert self.running, "nothing runs and nobody is admitted"
            self.scheduler.finish(self.running.pop(0))
            ends += 1
            self.submit(1)
        assert ends <= self.arrived

    @rule()
    def clear(self) -> None:
        assert self.scheduler.clear() == self.running + self.waiting
        self.running, self.waiting = [], []

    @invariant()
    def nothing_is_lost_and_no_limit_is_passed(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        assert list(self.scheduler.running) == self.running
        assert list(self.scheduler.waiting) == self.waiting
        assert len(self.scheduler) == len(self.running) + len(self.waiting) <= self.max_rows + self.max_queue
        assert self._blocked(list(self.waiting)) <= self.max_queue
        assert len(self.running) <= self.max_rows
        if self.running:
            assert self.budget.fits(len(self.running), max(size for _, size in self.running))


SchedulerRules.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
test_any_sequence_of_arrivals_ends_and_cancels_keeps_to_the_rules = SchedulerRules.TestCase
