"""A contender's process, seen from outside."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from benchmarks.workload import Answer, Request

ROOT = Path(__file__).resolve().parent.parent

# One thread for everybody: two OpenMP threads on a machine that does something else beside are slower than one.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


class ContenderFailedError(Exception):
    """A contender could not do what it was asked to.

    Attributes:
        module: Which one, by its module; empty when it never ran.
    """

    def __init__(self, message: str, module: str = "") -> None:
        super().__init__(message)
        self.module = module


class ContenderProcess:
    """Keeps one contender warm and asks it one thing at a time.

    Args:
        module: Module of this package to run.
        python: The contender's Python.
        log: File for what it prints.
        environment: Variables beside `ONE_THREAD`.
        timeout: Most seconds for one answer.
    """

    def __init__(
        self, module: str, python: str | Path, log: Path, environment: Mapping[str, str] | None = None, timeout: float = 900.0
    ) -> None:
        self._module, self._log, self._timeout = module, log, timeout
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", module],
                cwd=ROOT,
                env={**os.environ, **ONE_THREAD, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def ask(self, do: str, **arguments: Any) -> Any:
        """Give a command and wait for its answer.

        Raises:
            ContenderFailedError: It failed, ended, or did not answer in time.
        """
        try:
            self._stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._stdin.flush()
        except BrokenPipeError:
            raise self._failed(do, "ended before") from None
        if not select.select([self._stdout], [], [], self._timeout)[0]:
            self.stop()
            raise self._failed(do, f"did not answer within {self._timeout:.0f} s")
        line = self._stdout.readline()
        if not line:
            raise self._failed(do, "ended during")
        answer = json.loads(line)
        if "error" in answer:
            msg = f"{self._module} failed at {do!r}:\n{answer['error']}"
            raise ContenderFailedError(msg, self._module)
        return answer["ok"]

    def answer(self, requests: Sequence[Request], new_tokens: int, **how: Any) -> Answer:
        """Let it answer requests, each with so many new tokens."""
        return Answer(**self.ask("answer", requests=[request.as_json() for request in requests], new_tokens=new_tokens, **how))

    def stop(self) -> None:
        """End it: politely, then not."""
        if self._process.poll() is None:
            with suppress(BrokenPipeError):
                self._stdin.write(b'{"do": "stop"}\n')
                self._stdin.flush()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with suppress(BrokenPipeError):
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _failed(self, do: str, how: str) -> ContenderFailedError:
        tail = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        return ContenderFailedError("\n".join([f"{self._module} {how}: {do!r}. It last printed:", *tail]), self._module)
