"""What a request costs beyond the model's passes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.bench import Bench
from benchmarks.measure import interleave
from benchmarks.results import Row, Scenario, Target
from benchmarks.texts import turns

ONE, WHOLE, BATCH = "invoke, one token", "invoke, a whole answer", "batch, whole answers"


def overhead(bench: Bench) -> Scenario:
    """Wall time less the time inside the passes, for each request: tokenizer, LangChain, scheduling, sampling, caches."""
    sizes, ours = bench.sizes, bench.ours()

    def beyond(names: Sequence[str], new_tokens: int) -> float:
        ours.ask("passes")
        answer = ours.answer(bench.requests(names), new_tokens)
        inside = sum(ours.ask("passes")["seconds"].values())
        return 1000 * (answer.seconds - inside) / len(names)

    one, many = bench.soft_prompts[:1], turns(bench.soft_prompts, sizes.rows)
    times = interleave(
        {
            ONE: lambda: beyond(one, 1),
            WHOLE: lambda: beyond(one, sizes.new_tokens),
            BATCH: lambda: beyond(many, sizes.new_tokens),
        },
        2 * sizes.rounds,
    )
    stages = [ours.ask("stages", request=bench.requests(one)[0].as_json(), new_tokens=1) for _ in range(2 * sizes.rounds)]
    scenario = Scenario(
        name="overhead",
        title=f"Time of a request outside the model's passes; a whole answer is {sizes.new_tokens} tokens, a batch {sizes.rows} requests",
        unit="ms",
        better="lower",
        samples=times,
        rows=[
            Row(f"LangChain and engine overhead per request beyond the forward passes, {name}", Target("<", 2.0, "ms"), median(seen))
            for name, seen in times.items()
        ],
        facts={f"one_token_{stage}": median(one[stage] for one in stages) for stage in stages[0]},
    )
    if any(row.met is False for row in scenario.rows):
        worst = max(times, key=lambda name: median(times[name]))
        names, new_tokens = {ONE: (one, 1), WHOLE: (one, sizes.new_tokens), BATCH: (many, sizes.new_tokens)}[worst]
        scenario.profile = ours.ask("profile", requests=[request.as_json() for request in bench.requests(names)], new_tokens=new_tokens)
    return scenario
