"""A thousand soft prompts behind one model."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.measure import interleave, median_ratio
from benchmarks.results import Row, Scenario, Target
from benchmarks.texts import zipf

_PREFIX_CACHE_BYTES = 1 << 28


def many_soft_prompts(bench: Bench) -> Scenario:
    """Traffic by Zipf's law over all soft prompts, against traffic over a few, within one bounded cache."""
    sizes = bench.sizes
    label = "ours, bounded cache"
    ours = bench.ours(label, limits={"prefix_cache_bytes": _PREFIX_CACHE_BYTES, "max_rows": sizes.rows})
    names = list(bench.material.soft_prompts)[: sizes.many]
    many, few = f"{len(names)} soft prompts", f"{sizes.few} soft prompts"
    seeds = iter(range(1000))

    def speed(among: list[str]) -> float:
        asked = zipf(among, sizes.traffic, seed=next(seeds))
        return ours.answer(bench.requests(asked), sizes.new_tokens).tokens_per_second

    speeds = interleave({many: lambda: speed(names), few: lambda: speed(names[: sizes.few])}, sizes.rounds)
    memory = ours.ask("memory", requests=[one.as_json() for one in bench.requests(zipf(names, sizes.rows, 0))], new_tokens=sizes.new_tokens)
    scenario = Scenario(
        name="many_soft_prompts",
        title=f"{sizes.traffic} requests by Zipf's law, {sizes.new_tokens} new tokens each, {_PREFIX_CACHE_BYTES >> 20} MB to remember in",
        unit="tokens/s",
        samples=speeds,
        rows=[
            Row(
                f"{len(names)} soft prompts, traffic over all of them (Zipf), bounded cache, against {sizes.few} soft prompts",
                Target(">=", 0.85, "x"),
                median_ratio(speeds[many], speeds[few]),
            ),
            Row(
                f"remembered after traffic over {len(names)} soft prompts, of the bound",
                Target("<=", 1.0, "x"),
                memory["prefix_bytes"] / _PREFIX_CACHE_BYTES,
            ),
        ],
        facts={
            "resident_mb": memory["resident_bytes"] / 1e6,
            "remembered_mb": memory["prefix_bytes"] / 1e6,
            "bound_mb": _PREFIX_CACHE_BYTES / 1e6,
        },
    )
    if scenario.rows[0].met is False:
        requests = [one.as_json() for one in bench.requests(zipf(names, sizes.rows, 1))]
        scenario.profile = ours.ask("profile", requests=requests, new_tokens=sizes.new_tokens)
    bench.stop(label)
    return scenario
