"""Leaving the interpreter does not wait for answers that nobody can take any more."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from langchain_softprompt.errors import RequestCancelledError

if TYPE_CHECKING:
    from langchain_softprompt.calls.ports import HandlePort

# A batch waits in a pool's threads, and Python joins those before it leaves, however many items they still have to do.
# An item belongs to the thread that asked for the batch: when that is the main thread, or a daemon, it is not there any
# more by then. A thread that Python waits for gets its answers.
_nobody_stays: ContextVar[bool] = ContextVar("nobody_stays", default=False)
_under_way: weakref.WeakSet[HandlePort] = weakref.WeakSet()
_lock = threading.RLock()
_leaving = False


@contextmanager
def batch_of_this_thread() -> Iterator[None]:
    """What is asked meanwhile, in whatever thread, is asked for the current one."""
    thread = threading.current_thread()
    token = _nobody_stays.set(_nobody_stays.get() or thread.daemon or thread is threading.main_thread())
    try:
        yield
    finally:
        _nobody_stays.reset(token)


def watch(generation: HandlePort) -> None:
    """Cancel a request at interpreter exit if it is part of a batch that nobody waits for then.

    Raises:
        RequestCancelledError: The interpreter is leaving already.
    """
    if not _nobody_stays.get():
        return
    with _lock:
        if not _leaving:
            _under_way.add(generation)
            return
    generation.cancel()
    msg = "The interpreter is leaving, and nobody waits for this batch any more."
    raise RequestCancelledError(msg)


def _leave() -> None:
    global _leaving
    with _lock:
        _leaving = True
        left = list(_under_way)
    for generation in left:
        generation.cancel()


# Python has no public way to be called before it joins threads; concurrent.futures uses this one. Without it, leaving
# only takes longer.
_register = getattr(threading, "_register_atexit", None)
if _register is not None:
    with suppress(RuntimeError):  # The interpreter is leaving already.
        _register(_leave)
