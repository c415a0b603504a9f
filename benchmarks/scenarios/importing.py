"""What the package costs before its first request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from statistics import median
from typing import Any

from benchmarks.bench import Bench
from benchmarks.process import ONE_THREAD, ROOT
from benchmarks.results import Row, Scenario, Target

_PROBE = """
import json, sys, time
start = time.perf_counter()
import langchain_softprompt
imported = time.perf_counter() - start
torch_loaded = "torch" in sys.modules
start = time.perf_counter()
from langchain_softprompt import ChatSoftPrompt
class_loaded = time.perf_counter() - start
ChatSoftPrompt(model="embedded")
seen, watching = [], True
sys.addaudithook(lambda event, args: seen.append(event) if watching and event in ("open", "socket.connect", "os.listdir") else None)
times = []
for _ in range(200):
    start = time.perf_counter()
    ChatSoftPrompt(model="embedded", soft_prompt="acme/none", max_tokens=48)
    times.append(time.perf_counter() - start)
watching = False
print(json.dumps({"import": imported, "torch": torch_loaded or "torch" in sys.modules, "class": class_loaded,
                  "construct": sorted(times)[100], "files": len(seen)}))
"""


def importing(bench: Bench) -> Scenario:
    """`import langchain_softprompt` and the construction of a model object, each time in a fresh process."""
    _probe()  # compiles what was never imported
    seen = [_probe() for _ in range(2 * bench.sizes.rounds)]
    times = {
        "import langchain_softprompt": [1000 * one["import"] for one in seen],
        "from langchain_softprompt import ChatSoftPrompt, after that": [1000 * one["class"] for one in seen],
        "ChatSoftPrompt(...)": [1000 * one["construct"] for one in seen],
    }
    middle = [median(values) for values in times.values()]
    return Scenario(
        name="importing",
        title="Import and construction, in a fresh process",
        unit="ms",
        better="lower",
        samples=times,
        rows=[
            Row("import langchain_softprompt", Target("<", 0.5, "s"), middle[0] / 1000),
            Row("torch loaded by the import, the class or a model object", Target("<=", 0.0, "times"), sum(one["torch"] for one in seen)),
            Row("constructing a model object", Target("<", 1.0, "ms"), middle[2]),
            Row("files and connections opened by 200 constructions", Target("<=", 0.0, "files"), max(one["files"] for one in seen)),
        ],
    )


def _probe() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE], cwd=ROOT, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result
