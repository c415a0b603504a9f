"""Print the Python of the vLLM environment, making it first where it is not there: `python -m benchmarks.server_python`."""

from __future__ import annotations

import contextlib
import sys

from benchmarks.environments import find_server_python

with contextlib.redirect_stdout(sys.stderr):  # what is told meanwhile is for people
    found = find_server_python()
print(found)
