"""What serving takes beside the weights and the caches."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.results import Row, Scenario, Target
from benchmarks.texts import turns

_MB = 1 << 20
LABEL = "ours, tight caches"


def memory(bench: Bench) -> Scenario:
    """Resident memory of a fresh process while a full batch is answered, with caches hardly larger than that batch needs."""
    sizes = bench.sizes
    limits = {"row_cache_bytes": 128 * _MB, "prefix_cache_bytes": 64 * _MB, "max_rows": sizes.rows}
    ours = bench.ours(LABEL, limits=limits)
    names = turns(bench.soft_prompts, sizes.rows)
    seen = [
        ours.ask("memory", requests=[request.as_json() for request in bench.requests(names)], new_tokens=sizes.new_tokens)
        for _ in range(sizes.rounds)
    ]
    bench.stop(LABEL)
    weights, budget = bench.material.weight_bytes, limits["row_cache_bytes"] + limits["prefix_cache_bytes"]
    resident = [one["resident_bytes"] for one in seen]
    used = [one["row_bytes"] + one["prefix_bytes"] for one in seen]
    imports = seen[0]["imports_bytes"]
    rest = max(resident) - imports - weights - max(used)
    return Scenario(
        name="memory",
        title=f"Resident memory while {sizes.rows} requests are answered, bf16",
        unit="GB",
        better="lower",
        samples={"resident": [one / 1e9 for one in resident]},
        rows=[
            Row(
                f"resident memory while serving {sizes.rows} rows, beyond weights and configured caches",
                Target("<=", 0.4, "GB"),
                (max(resident) - weights - budget) / 1e9,
                "The most of all rounds. Python, torch, transformers and LangChain themselves are in it.",
            ),
            Row(
                f"the same beyond weights and what the caches really held ({_mb(max(used))})",
                Target("<=", 0.4, "GB"),
                max(one - weights - held for one, held in zip(resident, used, strict=True)) / 1e9,
                "Stricter than the target asks: unused cache is no excuse.",
            ),
        ],
        facts={
            "mapped_files_mb": seen[-1]["mapped_bytes"] / 1e6,
            "weights_mb": weights / 1e6,
            "caches_configured_mb": budget / 1e6,
            "caches_used_mb": max(used) / 1e6,
        },
        # The profile of memory is this sum.
        profile={
            "parts_gb": {
                "Python and what it imports": imports / 1e9,
                "weights": weights / 1e9,
                "caches": max(used) / 1e9,
                "rest": rest / 1e9,
            }
        },
    )


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
