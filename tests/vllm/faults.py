"""What can go wrong on purpose."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

_LONGEST_HANG = 30.0


@dataclass
class Fault:
    """One thing that goes wrong with the requests whose path matches.

    Attributes:
        path: A shell-like pattern.
        status: Answer with that status, `body` and `headers`.
        hang: Say nothing until released.
        after: After so many tokens of an answer ...
        cut: ... hang up;
        event: ... or send this in place of the next event: text as it is, anything else as JSON.
        ending: It may also be the event at the end, which has no tokens.
        left: How many more requests it happens to; `None` for all.
    """

    path: str = "*"
    status: int | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    after: int | None = None
    cut: bool = False
    event: Any = None
    ending: bool = False
    left: int | None = None
    reached: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    def ending_due(self, event: dict[str, Any]) -> bool:
        """Whether it is the event without tokens, at the end, that goes wrong."""
        return self.ending and not event["choices"]

    def keep(self) -> None:
        """In the request's own thread: wait for the release."""
        self.reached.set()
        self._released.wait(_LONGEST_HANG)

    def release(self) -> None:
        self._released.set()


class Faults:
    """The faults of a server."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._faults_lock = threading.Lock()

    def add(self, path: str = "*", *, times: int | None = None, **what: Any) -> Fault:
        """Let something go wrong; see `Fault`."""
        fault = Fault(path, left=times, **what)
        with self._faults_lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Forget every fault, and let go what hangs."""
        with self._faults_lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.release()

    def due(self, path: str) -> Fault | None:
        """The first fault that meets a request; it counts as having happened once more."""
        with self._faults_lock:
            for fault in self._faults:
                if fault.left != 0 and fnmatchcase(path, fault.path):
                    fault.left = None if fault.left is None else fault.left - 1
                    return fault
        return None
