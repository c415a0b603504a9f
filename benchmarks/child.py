"""Inside a contender's process: reads commands from stdin, one JSON object a line, and answers on stdout. No dependencies."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any


def serve(contender: object) -> None:
    """Obey until told to stop. A command is a method of the contender; what it returns is the answer."""
    # Libraries print; what they print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        if do == "stop":
            break
        answers.write(json.dumps(_obey(contender, do, command)) + "\n")
        answers.flush()


def _obey(contender: object, do: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": getattr(contender, do)(**arguments)}
    except Exception:  # noqa: BLE001 - told to the one who asked
        return {"error": traceback.format_exc()}
