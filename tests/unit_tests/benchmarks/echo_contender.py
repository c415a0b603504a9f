"""A contender that does as it is told, for the tests of its process."""

from __future__ import annotations

import os
import sys
from typing import Any

from benchmarks.child import serve


class Echo:
    """Answers with what it was asked, prints, fails, or dies."""

    def answer(self, requests: list[dict[str, Any]], new_tokens: int) -> dict[str, Any]:
        """Each request with so many new tokens, in a second each."""
        return {"seconds": float(len(requests)), "new_tokens": [new_tokens] * len(requests), "prompt_tokens": [3] * len(requests)}

    def chatter(self) -> str:
        """Print, as libraries do, by Python's way and by the file itself."""
        print("some progress")  # noqa: T201 - what must not get between the answers
        os.write(1, b"and some more\n")
        return "done"

    def fail(self) -> None:
        """Raise."""
        msg = "no such luck"
        raise RuntimeError(msg)

    def die(self) -> None:
        """End at once."""
        print("last words", file=sys.stderr, flush=True)  # noqa: T201 - what the error should tell
        os._exit(3)

    def threads(self) -> str:
        """How many threads it is told to take."""
        return os.environ["OMP_NUM_THREADS"]


if __name__ == "__main__":
    serve(Echo())
