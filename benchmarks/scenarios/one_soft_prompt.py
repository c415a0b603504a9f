"""What mixing soft prompts in a batch costs."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.measure import interleave, median_ratio
from benchmarks.results import Row, Scenario, Target
from benchmarks.texts import turns

MIXED, ONE = "mixed soft prompts", "one soft prompt"


def one_soft_prompt(bench: Bench) -> Scenario:
    """The same batch with several soft prompts and with one."""
    sizes, ours = bench.sizes, bench.ours()

    def speed(names: list[str]) -> float:
        return ours.answer(bench.requests(names), sizes.new_tokens).tokens_per_second

    mixed, one = turns(bench.soft_prompts, sizes.rows), turns(bench.soft_prompts[:1], sizes.rows)
    speeds = interleave({MIXED: lambda: speed(mixed), ONE: lambda: speed(one)}, 2 * sizes.rounds)
    scenario = Scenario(
        name="one_soft_prompt",
        title=f"{sizes.rows} requests in one batch, {sizes.new_tokens} new tokens each: {sizes.soft_prompts} soft prompts or one",
        unit="tokens/s",
        samples=speeds,
        rows=[
            Row("mixed soft prompts against one soft prompt in the same batch", Target(">=", 0.97, "x"), median_ratio(*speeds.values())),
        ],
    )
    if scenario.rows[0].met is False:
        requests = [request.as_json() for request in bench.requests(mixed)]
        scenario.profile = ours.ask("profile", requests=requests, new_tokens=sizes.new_tokens)
    return scenario
