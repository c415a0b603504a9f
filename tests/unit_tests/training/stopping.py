"""Runs that end before their end: in this process without a trace, or a process of their own by SIGKILL."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from langchain_softprompt.training import Nobody, StepReport


class Killed(BaseException):
    """Nothing catches it, so that nothing is tidied up."""


class Stopper(Nobody):
    """Ends a run at a moment: after so many words said to it."""

    def __init__(self, after: int, error: type[BaseException] = Killed) -> None:
        self.left, self.error = after, error

    def on_rate(self, rate: float, loss: float) -> None:
        self._count()

    def on_step(self, report: StepReport) -> None:
        self._count()

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


def kill_once_there(file: Path, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], seconds: float) -> None:
    """Start a command and send it SIGKILL as soon as it has written a file."""
    with subprocess.Popen(command, cwd=cwd, env=environment, stderr=subprocess.DEVNULL) as running:
        until = time.monotonic() + seconds
        while not file.exists() and running.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL, "it must be killed before it is done"
