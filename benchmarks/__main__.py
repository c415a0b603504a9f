"""Run the benchmarks: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import QUICK, Bench, Sizes, last_line
from benchmarks.environments import ENVIRONMENTS
from benchmarks.machine import load, machine_facts
from benchmarks.process import ROOT
from benchmarks.report import RESULTS, write_page
from benchmarks.results import Results, Scenario
from benchmarks.scenarios import SCENARIOS

_PEERS = [name for name in ENVIRONMENTS if name != "ours"]
_LIGHT = "peft,langchain-huggingface"
_TRIAL = ROOT / ".benchmarks" / "trial.json"


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for, write the results, and for a complete run the page."""
    options = _options(arguments)
    if options.page_only:
        write_page(Results.load(RESULTS))
        return 0
    complete = not options.only and not options.quick and options.rounds is None
    output = (options.output or (RESULTS if complete else _TRIAL)).absolute()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as work:
        bench = _bench(options, Path(work))
        results = _run(bench, options.only or list(SCENARIOS))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(results.to_json(), encoding="utf-8")
    print(f"Results: {output}")
    if output == RESULTS:
        write_page(results)
    elif options.merge:
        merge(results)
    _tell(results)
    return 1 if any(scenario.error for scenario in results.scenarios) else 0


def merge(part: Results) -> None:
    """Put what was measured into the results that are there, and write the page anew."""
    whole = Results.load(RESULTS).with_scenarios_of(part)
    RESULTS.write_text(whole.to_json(), encoding="utf-8")
    write_page(whole)


def _run(bench: Bench, names: list[str]) -> Results:
    machine = machine_facts()
    if machine["load_before"] > 0.5:
        print(f"Other work is running here (load {machine['load_before']}): figures will be worse and less steady.", file=sys.stderr)
    scenarios = []
    try:
        for name in names:
            print(f"Scenario {name}", flush=True)
            scenarios.append(run_scenario(bench, name))
    finally:
        bench.stop()
    for peer in _PEERS:
        bench.seen.setdefault(peer, {"present": False, "reason": "not asked for" if peer not in bench.peers else "no scenario needed it"})
    machine["load_after"] = load()
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return Results(today, bench.quick, bench.sizes.rounds, machine, bench.seen, scenarios)


def run_scenario(bench: Bench, name: str) -> Scenario:
    """Run one scenario; a peer that fails is left out, and the others are measured again without it."""
    while True:
        try:
            return SCENARIOS[name](bench)
        except Exception as error:  # noqa: BLE001 - the other scenarios can still be measured
            peer = next((peer for peer in _PEERS if ENVIRONMENTS[peer].module == getattr(error, "module", "")), None)
            if peer is not None and bench.seen.get(peer, {}).get("present"):
                bench.drop(peer, f"failed at {name}: {last_line(str(error))}")
                continue
            traceback.print_exc()
            return Scenario(name, name.replace("_", " "), "", error=f"{type(error).__name__}: {last_line(str(error))}")


def _bench(options: argparse.Namespace, work: Path) -> Bench:
    from benchmarks.material import make_material, make_texts
    from langchain_softprompt.frozen_model.sources import find_model

    sizes = QUICK if options.quick else Sizes()
    if options.rounds is not None:
        sizes = replace(sizes, rounds=options.rounds)
    count = max(sizes.many, sizes.soft_prompts, sizes.few, sizes.rounds * sizes.repeats)
    material = make_material(find_model("embedded").folder, work, soft_prompts=count)
    logs = ROOT / ".benchmarks" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return Bench(sizes, material, make_texts(material.model, seed=0), options.peers, options.python, logs, quick=options.quick)


def _tell(results: Results) -> None:
    from benchmarks.report import cell, verdict

    for scenario in results.scenarios:
        for row in scenario.rows:
            print(f"{verdict(row.met):>12}  {row.what}: {cell(row.measured, row.target.unit)}")
        if scenario.error:
            print(f"{'failed':>12}  {scenario.name}: {scenario.error}")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: tries the benchmark, says nothing about speed")
    parser.add_argument("--only", type=_names(list(SCENARIOS)), help=f"scenarios, with commas: {', '.join(SCENARIOS)}")
    parser.add_argument("--peers", type=_names([*_PEERS, "none"]), default=_LIGHT.split(","), help=f"of {', '.join(_PEERS)}; or none")
    parser.add_argument(
        "--python",
        type=_interpreter,
        action="append",
        default=[],
        metavar="PEER=PATH",
        help="run a peer in an environment that is there already; it is then one of the peers",
    )
    parser.add_argument("--rounds", type=int, help="rounds that count; the page is not rewritten then")
    parser.add_argument(
        "--output", type=Path, help="where the JSON goes; by default .benchmarks/, and for a full run benchmarks/results/cpu.json"
    )
    parser.add_argument("--merge", action="store_true", help="put a part's results into benchmarks/results/cpu.json and the page")
    parser.add_argument("--page-only", action="store_true", help="write docs/benchmarks.md anew from the results that are there")
    options = parser.parse_args(arguments)
    if options.merge and options.quick:
        parser.error("--merge is not for --quick: its figures say nothing about speed")
    options.python = dict(options.python)
    options.peers = [peer for peer in dict.fromkeys([*options.peers, *options.python]) if peer != "none"]
    return options


def _names(known: list[str]) -> object:
    def names(text: str) -> list[str]:
        asked = [name for name in text.split(",") if name]
        for name in asked:
            if name not in known:
                msg = f"{name!r} is none of {', '.join(known)}"
                raise argparse.ArgumentTypeError(msg)
        return asked

    return names


def _interpreter(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if name not in _PEERS or not path:
        msg = f"expected PEER=PATH with a peer of {', '.join(_PEERS)}, found {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return name, Path(path)


if __name__ == "__main__":
    sys.exit(main())
