"""A loopback Hub in a process of its own, for the examples in the docs: prints its address, and ends with its standard input."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.hub import LoopbackHub

with tempfile.TemporaryDirectory() as folder, LoopbackHub(Path(folder)) as hub:
    print(hub.url, flush=True)  # noqa: T201 - what was asked for
    sys.stdin.read()
