"""Bench: what a scenario is given."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environments import ENVIRONMENTS, find_python
from benchmarks.material import Material
from benchmarks.process import ContenderFailedError, ContenderProcess
from benchmarks.texts import Texts
from benchmarks.workload import Answer, Request


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done.

    Attributes:
        rounds: Rounds that count.
        rows: Requests of a batch.
        new_tokens: Tokens of an answer.
        text: Tokens of a question.
        template: Tokens of the system message that requests share.
        soft_prompts: Soft prompts of a batch.
        many: Soft prompts of the scenario with many.
        few: What they are compared with.
        traffic: Requests over many soft prompts.
        repeats: Short requests of one round where a difference of milliseconds is looked for.
        task_rows: Held-out rows of each of the shipped soft prompts' tasks.
    """

    rounds: int = 5
    rows: int = 16
    new_tokens: int = 48
    text: int = 24
    template: int = 400
    soft_prompts: int = 4
    many: int = 1000
    few: int = 16
    traffic: int = 128
    repeats: int = 20
    task_rows: int = 200


QUICK = Sizes(rounds=2, rows=4, new_tokens=6, text=12, template=60, soft_prompts=2, many=40, few=4, traffic=16, repeats=3, task_rows=6)


@dataclass
class Bench:
    """Sizes, texts and contenders.

    Attributes:
        sizes: How much to do.
        material: The model and the soft prompts.
        texts: Fresh texts.
        peers: Which peers are wanted.
        pythons: Interpreters named for contenders.
        logs: Folder for what contenders print.
        seen: What became of each contender.
    """

    sizes: Sizes
    material: Material
    texts: Texts
    peers: Sequence[str]
    pythons: Mapping[str, Path]
    logs: Path
    quick: bool = False
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    _running: dict[str, ContenderProcess] = field(default_factory=dict)

    @property
    def soft_prompts(self) -> list[str]:
        """Names of the soft prompts that batches mix."""
        return list(self.material.soft_prompts)[: self.sizes.soft_prompts]

    def requests(self, soft_prompts: Sequence[str | None], *, tokens: int | None = None, system: str | None = None) -> list[Request]:
        """One request with a fresh text for each of these soft prompts."""
        return [Request(self.texts.fresh(tokens or self.sizes.text), name, system) for name in soft_prompts]

    def ours(self, label: str = "ours", **options: Any) -> ContenderProcess:
        """This package; the label stands for its options."""
        if label not in self._running:
            self._start(label, "ours", options)
        return self._running[label]

    def peer(self, name: str) -> ContenderProcess | None:
        """A peer, kept warm; ``None`` when it is absent, which `seen` then tells why."""
        if name in self._running:
            return self._running[name]
        if name in self.seen:
            return None
        if name not in self.peers:
            self.seen[name] = {"present": False, "reason": "not asked for"}
            return None
        options: dict[str, Any] = {"eager": self.quick, "rows": self.sizes.rows} if name == "vllm" else {}
        try:
            self._start(name, name, options)
        except ContenderFailedError as error:
            self.drop(name, str(error))
            return None
        return self._running[name]

    def drop(self, name: str, reason: str) -> None:
        """A peer failed: say so, and go on without it."""
        print(f"{name} is left out: {reason}", file=sys.stderr, flush=True)
        self.seen[name] = {"present": False, "reason": last_line(reason)}
        if name in self._running:
            self._running.pop(name).stop()

    def stop(self, label: str | None = None) -> None:
        """End one contender, or all."""
        for name in [label] if label is not None else list(self._running):
            if name in self._running:
                self._running.pop(name).stop()

    def _start(self, label: str, name: str, options: dict[str, Any]) -> None:
        environment = ENVIRONMENTS[name]
        print(f"Starting {label}", flush=True)
        process = ContenderProcess(
            environment.module, find_python(name, self.pythons), self.logs / f"{label.replace(' ', '-')}.log", environment.variables
        )
        few = dict(list(self.material.soft_prompts.items())[: max(self.sizes.soft_prompts, self.sizes.few)])
        soft_prompts = self.material.soft_prompts if name == "ours" else few
        try:
            versions = process.ask("prepare", soft_prompts=soft_prompts, **{"model": str(self.material.model), **options})
        except ContenderFailedError:
            process.stop()
            raise
        self._running[label] = process
        self.seen[label] = {"present": True, "versions": versions, "options": options}


def last_line(reason: str) -> str:
    """The last line that says something, where a traceback tells what happened; without this machine's folders."""
    line = next((line.strip() for line in reversed(reason.splitlines()) if line.strip()), "unknown")
    return re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+([\w.+-]*)", r".../\1", line)[:300]


def check_alike(answers: Mapping[str, Answer], new_tokens: int) -> dict[str, Any]:
    """See whether everybody did the same work.

    Returns:
        Who answered with another number of tokens than asked for, and who read other prompts than the first one.
    """
    first = next(iter(answers.values()))
    return {
        "ended_early": sorted(name for name, answer in answers.items() if set(answer.new_tokens) != {new_tokens}),
        "read_other_prompts": sorted(
            name for name, answer in answers.items() if sorted(answer.prompt_tokens) != sorted(first.prompt_tokens)
        ),
    }
