"""What can go wrong on purpose: a Hub that refuses, breaks off, garbles, keeps waiting, or changes in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, Self

from tests.hub.wire import Answer, Refusal, Request
from tests.hub.xet import OTHER_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

Kind = Literal["before", "hold", "fail", "cut", "corrupt"]
_LONGEST_HOLD = 60.0


class Hold:
    """A request that waits. Leaving the ``with`` block, or the Hub's end, lets it go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._released = threading.Event()

    def wait_until_reached(self, timeout: float = 10.0) -> None:
        """Wait until a request has come to the hold.

        Raises:
            TimeoutError: None has.
        """
        if not self.reached.wait(timeout):
            msg = f"No request came to the hold in {timeout} s"
            raise TimeoutError(msg)

    def release(self) -> None:
        self._released.set()

    def keep(self) -> None:
        """In the request's own thread: wait for the release."""
        self.reached.set()
        self._released.wait(_LONGEST_HOLD)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()


@dataclass
class Fault:
    """One thing that goes wrong with the requests that match."""

    kind: Kind
    pattern: str
    left: int | None
    act: Callable[[], object] = object
    answer: Answer = field(default_factory=Answer)
    after_bytes: int = 0

    def matches(self, request: Request) -> bool:
        named, _, _ = self.pattern.partition(" ")
        return fnmatchcase(str(request) if named.isupper() else request.path, self.pattern)


class Faults:
    """The faults of a Hub.

    A `path_pattern` is a shell-like pattern for the path without its query, as ``*/resolve/*``, or for method and path, as
    ``GET */resolve/*``; ``*`` also stands for slashes. `times` says how many requests it happens to, `None`: to every one.

    The client tries some requests again when it is answered 408, 429 or 5xx or can't connect: five times, after 1, 2, 4, 8 and
    8 seconds, or a second more than ``Retry-After`` says. So it does with trees (since 2.0), Xet's tokens, LFS and the preupload,
    and with a ``HEAD`` of a file that isn't cached, whose second try comes at once; and with a file itself after 408 and 429. It
    does not with model info, which a revision is resolved with, nor with a commit, nor with a new repository.
    """

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._holds: list[Hold] = []
        self._faults_lock = threading.Lock()

    def fail(
        self,
        path_pattern: str,
        *,
        status: int,
        times: int | None = None,
        headers: Mapping[str, str] | None = None,
        code: str = "",
        message: str = "made to fail",
    ) -> None:
        """Answer with an error status; `code` is what the client tells most of its error classes by."""
        refusal = Refusal(status, message, code=code, headers=headers)
        self._add(Fault("fail", path_pattern, times, answer=refusal.answer))

    def cut(self, path_pattern: str, after_bytes: int, *, times: int | None = 1) -> None:
        """Hang up after so many bytes of the body. (The client goes on from there a second later, with a Range.)"""
        self._add(Fault("cut", path_pattern, times, after_bytes=after_bytes))

    def corrupt(self, path_pattern: str, *, times: int | None = None) -> None:
        """Send other bytes of the right length."""
        self._add(Fault("corrupt", path_pattern, times))

    def hold(self, path_pattern: str, *, times: int | None = 1) -> Hold:
        """Let a request wait for its answer, so that something can happen to the client or to the Hub in between."""
        hold = Hold()
        self._holds.append(hold)
        self._add(Fault("hold", path_pattern, times, act=hold.keep))
        return hold

    def before(self, path_pattern: str, callback: Callable[[], object], *, times: int | None = 1) -> None:
        """Call back before a request is answered, in the request's thread."""
        self._add(Fault("before", path_pattern, times, act=callback))

    def heal(self) -> None:
        """Forget every fault, and let go what is held."""
        with self._faults_lock:
            self._faults.clear()
        for hold in self._holds:
            hold.release()

    def _add(self, fault: Fault) -> None:
        with self._faults_lock:
            self._faults.append(fault)

    def _due(self, request: Request, *kinds: Kind, most: int | None = None) -> list[Fault]:
        """The faults of these kinds that meet the request, at `most` so many; each counts as having happened once more."""
        with self._faults_lock:
            due = [fault for fault in self._faults if fault.kind in kinds and fault.left != 0 and fault.matches(request)][:most]
            for fault in due:
                if fault.left is not None:
                    fault.left -= 1
        return due

    def in_the_way(self, request: Request) -> Answer | None:
        """For the server, before it looks at a request: what happens to it, and the error if it is to fail."""
        for fault in self._due(request, "before", "hold"):
            fault.act()
        failures = self._due(request, "fail", most=1)
        return failures[0].answer if failures else None

    def spoilt(self, request: Request, answer: Answer) -> tuple[bytes, int]:
        """For the server: the body as it is to be sent, and how much of it."""
        body, length = answer.body, len(answer.body)
        for fault in self._due(request, "corrupt", "cut"):
            if fault.kind == "corrupt":
                body = body.translate(OTHER_BYTES)
            else:
                length = min(length, fault.after_bytes)
        return body, length
