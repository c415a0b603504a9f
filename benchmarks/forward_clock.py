"""ForwardClock: how long the engine was inside the model's passes, the rest being our own doing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.frozen_model.llama import LlamaForward
from langchain_softprompt.frozen_model.passes import TransformersPasses

# The passes of the model as the engine takes them. A name that is gone fails loudly, so that no time is counted as ours or
# as the model's by accident.
_PASSES: tuple[tuple[type, str, str], ...] = (
    (FrozenModel, "forward", "reading"),
    *((passes, name, kind) for passes in (LlamaForward, TransformersPasses) for name, kind in (("read", "reading"), ("step", "decoding"))),
)


class ForwardClock:
    """Counts seconds and calls of the model's passes from the time it is installed; one per process."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"reading": 0.0, "decoding": 0.0}
        self.calls: dict[str, int] = {"reading": 0, "decoding": 0}
        self._inside = threading.local()
        for owner, name, kind in _PASSES:
            setattr(owner, name, self._timed(getattr(owner, name), kind))

    @property
    def total(self) -> float:
        """Seconds in passes of either kind."""
        return sum(self.seconds.values())

    def reset(self) -> None:
        """Start from nought."""
        for kind in self.seconds:
            self.seconds[kind], self.calls[kind] = 0.0, 0

    def _timed(self, inner: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._inside, "now", False):  # a pass within a pass is counted once
                return inner(*args, **kwargs)
            self._inside.now = True
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds[kind] += time.perf_counter() - start
                self.calls[kind] += 1
                self._inside.now = False

        return timed
