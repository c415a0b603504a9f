"""The first time a soft prompt is compiled for a model, its probes are read; a warning says so when it has drifted."""

from __future__ import annotations

import logging
import shlex
import threading
from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
import transformers

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix.kv_prefix import KVPrefix
from langchain_softprompt.prefix.probe_report import ProbeReport
from langchain_softprompt.prefix.probes import run_probes
from langchain_softprompt.printable import printable
from langchain_softprompt.soft_prompt import ProbesRecord, SoftPrompt

logger = logging.getLogger(__name__)

# One chunk of prefill, as the engine cuts prompts by default: no stream waits longer for this than for another prompt.
UNASKED_TOKENS = 256
_MOST_SEEN = 10_000
_seen: WeakKeyDictionary[FrozenModel, OrderedDict[str, None]] = WeakKeyDictionary()
_guard = threading.Lock()


def watch_drift(model: FrozenModel, soft_prompt: SoftPrompt, compiled: Callable[[], KVPrefix]) -> None:
    """Read the probes of a soft prompt that this process sees for the first time on this model, and warn of drift.

    At most 256 positions are read. Nothing is raised: to warn is a favour, and what can't be read is told in a log line.

    Args:
        model: The frozen model.
        soft_prompt: The soft prompt; without probes nothing happens.
        compiled: Gives it compiled; called only if there is something to read.
    """
    record = soft_prompt.manifest.probes if soft_prompt.manifest is not None else None
    if record is None or not record.probes or not _first_time(model, soft_prompt.content_hash):
        return
    try:
        report = run_probes(model, compiled(), record, most_tokens=UNASKED_TOKENS)
    except Exception as error:  # noqa: BLE001 - whatever it is, the soft prompt itself compiled.
        logger.warning("The probes of the soft prompt %s can't be read on %s: %s", printable(soft_prompt.source), model.name, error)
        return
    if report.verdict in {"drifted", "broken"}:
        logger.warning("%s", _warning(model, soft_prompt, record, report))
    else:
        logger.debug("The soft prompt %s on %s: %s.", printable(soft_prompt.source), model.name, report)


def _first_time(model: FrozenModel, content_hash: str) -> bool:
    with _guard:
        seen = _seen.setdefault(model, OrderedDict())
        if content_hash in seen:
            return False
        seen[content_hash] = None
        if len(seen) > _MOST_SEEN:
            seen.popitem(last=False)
        return True


def _warning(model: FrozenModel, soft_prompt: SoftPrompt, record: ProbesRecord, report: ProbeReport) -> str:
    what = "is broken" if report.verdict == "broken" else "has drifted"
    how = [model.name, "--dtype", str(model.dtype).removeprefix("torch.")]
    how += ["--quantization", model.quantization] if model.quantization is not None else []
    command = shlex.join(["langchain-softprompt", "check", printable(soft_prompt.source), "--model", *how])
    then = f"transformers {printable(record.transformers or '?')} and torch {printable(record.torch or '?')}"
    return (
        f"The soft prompt {printable(soft_prompt.source)} {what} on {model.name}: {report}. "
        f"It was recorded with {then}; here are transformers {transformers.__version__} and torch {torch.__version__}. "
        f"Look closer: {command}"
    )


__all__ = ["UNASKED_TOKENS", "watch_drift"]
