"""Run cells of the table that are not there yet, each as it is done written to the results: `python -m benchmarks.quality`."""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from benchmarks.machine import machine_facts
from benchmarks.process import ROOT
from benchmarks.quality.cells import DISTILLED, FEW_SHOT, OURS, ZERO_SHOT, run_cell
from benchmarks.quality.page import write_page
from benchmarks.quality.starts import WAYS
from benchmarks.quality.tasks import TASKS
from langchain_softprompt.frozen_model import FrozenModel

RESULTS = ROOT / "benchmarks" / "results" / "quality.json"
RUNS = ROOT / "runs" / "quality"
_WAYS = (ZERO_SHOT, FEW_SHOT, OURS, DISTILLED, *WAYS)


def main() -> None:
    """Go through the cells in order."""
    options = _options()
    if not options.page_only:
        torch.set_num_threads(options.threads)
        model = FrozenModel.load(options.model, dtype=options.dtype)
        for seed in options.seeds:
            for way in options.ways:
                if way == ZERO_SHOT and seed != 0:
                    continue
                for task in options.tasks:
                    if not _done(options.results, task, way, seed) and not options.rows:
                        cell = run_cell(model, TASKS[task], way, seed, RUNS)
                        _keep(options.results, {**cell, "day": datetime.datetime.now(datetime.UTC).date().isoformat()})
                        print(json.dumps(cell), flush=True)
                    elif options.rows:
                        print(json.dumps(run_cell(model, TASKS[task], way, seed, RUNS, rows=options.rows)), flush=True)
    write_page(_read(options.results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="what the model computes in")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--ways", nargs="+", choices=_WAYS, default=list(_WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rows", type=int, help="score the first so many test rows only, print, and keep nothing")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page-only", action="store_true", help="write docs/quality.md from the results there are")
    return parser.parse_args()


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {"machine": machine_facts(), "cells": []}
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def _done(file: Path, task: str, way: str, seed: int) -> bool:
    return any((cell["task"], cell["way"], cell["seed"]) == (task, way, seed) for cell in _read(file)["cells"])


def _keep(file: Path, cell: dict[str, Any]) -> None:
    """Two processes may work on different cells at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        results = _read(file)
        results["cells"].append(cell)
        file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
