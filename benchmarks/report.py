"""The results as a page. Every figure in it comes from the results; the same results give the same page."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from statistics import median
from typing import Any

from benchmarks.chart import draw
from benchmarks.process import ROOT
from benchmarks.results import Results, Scenario

RESULTS = ROOT / "benchmarks" / "results" / "cpu.json"
PAGE = ROOT / "docs" / "benchmarks.md"
CHART = ROOT / "docs" / "_static" / "benchmarks.svg"

_HEAD = """\
<!-- Made by `make bench` from benchmarks/results/cpu.json. Don't edit: change benchmarks/report.py, or measure again. -->

# Benchmarks

SmolLM2-135M-Instruct in bf16 on one thread of a CPU. Every contender is a process of its own and stays warm; rounds are interleaved
(A B C, then C B A), figures are medians over rounds, ratios are medians of the ratios within a round. All contenders serve the same soft
prompts (prompt tuning, 20 virtual tokens) through the same chat template. Texts are random words, each text new to everyone, so no engine
has remembered a question. The end-of-answer token is one that no answer contains, so that all answers have the length asked for.

PEFT's batches are shown although their answers are wrong: left padding stands between the soft prompt and shorter texts.
langchain-huggingface knows no soft prompts and answers with the bare model.
"""

_AGAIN = """\
## Measure again

<!-- skip: next "installs packages and measures for the better part of an hour" -->
```bash
make bench                                # sets the peers up in benchmarks/.venvs, measures, rewrites this page
make bench BENCH_ARGS="--quick"           # small sizes: does everything run?
make bench BENCH_ARGS="--only decode,first_token --peers peft"
make bench BENCH_ARGS="--only training --peers peft --merge"   # in place of that part of this page
make bench PEERS=peft,langchain-huggingface,vllm   # vLLM too: an environment of 3.5 GB
make bench BENCH_ARGS="--python vllm=/path/to/its/bin/python"
```

Do it on a machine that does nothing else. A run of parts, or of other sizes, goes to `.benchmarks/` and leaves this page alone,
unless it is merged; a part that was measured at another time says so.
"""


def write_page(results: Results) -> None:
    """Write the page and its picture."""
    PAGE.write_text(render(results), encoding="utf-8")
    draw(results, CHART)


def render(results: Results) -> str:
    """The page's text."""
    parts = [_HEAD, *_warnings(results), _targets(results), *_picture(results), *map(_scenario, results.scenarios)]
    parts += [_contenders(results), _machine(results), _AGAIN]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def cell(value: float | None, unit: str) -> str:
    """A figure with its unit, to as many places as tell something."""
    if value is None:
        return "not measured"
    number = f"{value:.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    if abs(value) < 0.1 and value != 0:
        number = f"{value:.2g}"
    return f"{number}{unit}" if unit == "x" else f"{number} {unit}"


def verdict(met: bool | None) -> str:  # noqa: FBT001 - one of three
    """In a word."""
    return {True: "met", False: "**missed**", None: "not measured"}[met]


def _warnings(results: Results) -> list[str]:
    lines = []
    if results.quick:
        lines.append(
            "**These figures are of a trial run with small sizes. They show that the benchmark runs, not how fast anything is.**\n"
        )
    if max(results.machine["load_before"], 0) > 0.5:
        lines.append(f"Other work ran on the machine when this began (load {results.machine['load_before']}), so figures are unsteady.\n")
    return lines


def _targets(results: Results) -> str:
    lines = []
    for scenario in results.scenarios:
        if scenario.error is not None:
            lines.append((scenario.title, "", "failed: " + scenario.error, ""))
        for row in scenario.rows:
            target = f"{row.target.op} {cell(row.target.value, row.target.unit)}"
            lines.append((row.what, target, cell(row.measured, row.target.unit), verdict(row.met)))
    return "## Targets\n\n" + _table(("what", "target", "measured", ""), lines, right=(1, 2))


def _picture(results: Results) -> list[str]:
    drawn = any(scenario.samples for scenario in results.scenarios)
    return [f"![Medians of every scenario and contender](_static/{CHART.name})\n"] if drawn else []


def _scenario(scenario: Scenario) -> str:
    parts = [f"## {scenario.title}\n"]
    if scenario.error is not None:
        return f"{parts[0]}\nIt failed: {scenario.error}\n"
    if scenario.samples:
        rows = []
        for name, samples in scenario.samples.items():
            figures = [cell(one, scenario.unit) for one in (median(samples), min(samples), max(samples))]
            rows.append((name, *figures, str(len(samples))))
        parts.append(_table(("", "median", "least", "most", "times"), rows, right=(1, 2, 3, 4)))
    parts += [f"{row.what[0].upper()}{row.what[1:]}: {row.note}\n" for row in scenario.rows if row.note]
    parts += _facts(scenario.facts)
    parts += [f"{scenario.elsewhere}\n"] if scenario.elsewhere else []
    if scenario.profile:
        parts.append(_profile(scenario.profile, missed=any(row.met is False for row in scenario.rows)))
    return "\n".join(parts)


def _facts(facts: dict[str, Any]) -> list[str]:
    parts = []
    early, other = facts.get("ended_early"), facts.get("read_other_prompts")
    if early is not None and other is not None:
        parts.append(
            "All made the same number of tokens.\n" if not early else f"Answers of another length than asked for: {', '.join(early)}.\n"
        )
        parts.append(
            "All read the same number of tokens.\n" if not other else f"Prompts of another length than ours: {', '.join(other)}.\n"
        )
    whole = facts.get("tokens_per_second_with_prompt")
    if whole:
        told = "; ".join(f"{name} {cell(median(samples), 'tokens/s')}" for name, samples in whole.items())
        parts.append(f"Of the whole request, its prompt included: {told}.\n")
    if "table" in facts:
        head, rows = facts["table"]["head"], facts["table"]["rows"]
        parts.append(_table(head, rows, right=range(2, len(head))))
    single = [f"{name.replace('_', ' ')} {cell(value, '').strip()}" for name, value in facts.items() if isinstance(value, int | float)]
    if single:
        parts.append("; ".join(single) + ".\n")
    return parts


def _profile(profile: dict[str, Any], *, missed: bool) -> str:
    parts = ["A target was missed. Where the time goes:\n" if missed and "shares" in profile else "What it is made of:\n"]
    if "shares" in profile:
        parts.append(
            _table(("part", "share of the time"), [(name, f"{share:.0%}") for name, share in profile["shares"].items()], right=(1,))
        )
    if "operators" in profile:
        rows = [(f"`{one['name']}`", f"{one['share']:.0%}", str(one["calls"])) for one in profile["operators"]]
        parts.append(_table(("torch operator, by its own time", "share of all operators", "calls"), rows, right=(1, 2)))
    if "parts_gb" in profile:
        parts.append(_table(("part", "size"), [(name, cell(value, "GB")) for name, value in profile["parts_gb"].items()], right=(1,)))
    return "\n".join(parts)


def _contenders(results: Results) -> str:
    rows = []
    for name, seen in sorted(results.contenders.items()):
        if seen["present"]:
            told = [f"{package} {version}" for package, version in seen["versions"].items() if package != "threads"]
            told += [f"{option}: {value}" for option, value in seen["options"].items() if value]
            rows.append((name, ", ".join(told)))
        else:
            rows.append((name, f"absent: {seen['reason']}"))
    return "## Contenders\n\n" + _table(("contender", ""), rows)


def _machine(results: Results) -> str:
    machine = results.machine
    rows = [
        ("processor", machine["cpu"]),
        ("vector units", ", ".join(machine["vector_units"]) or "none known"),
        ("threads", f"{machine['threads_used']} of {machine['cores_seen']}"),
        ("memory", cell(machine["memory_gb"], "GB")),
        ("load before and after", f"{machine['load_before']} and {machine.get('load_after', '?')}"),
        ("system", f"{machine['system']}, Python {machine['python']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in machine["versions"].items())),
        ("measured on", f"{results.made}, {results.rounds} rounds"),
    ]
    text = "## Machine\n\nRatios depend on it: another processor has other vector units and another memory.\n\n"
    return text + _table(("", ""), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Container[int] = ()) -> str:
    rule = ["---:" if column in right else "---" for column in range(len(head))]
    return "".join(f"| {' | '.join(map(_plain, line))} |\n" for line in (head, rule, *rows))


def _plain(text: str) -> str:
    """Nothing in a cell may end it."""
    return text.replace("|", "/").replace("\n", " ")


__all__ = ["CHART", "PAGE", "RESULTS", "cell", "render", "verdict", "write_page"]
