"""How soon the first token comes when everything but the question is known."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.measure import interleave, median_ratio
from benchmarks.results import Row, Scenario, Target

OURS, INT8, PEFT, VLLM = "ours, bf16", "ours, int8", "PEFT, bf16", "vLLM, bf16, prefix caching"


def first_token(bench: Bench) -> Scenario:
    """A soft prompt, a long shared system message, a short fresh question; an answer of one token."""
    sizes = bench.sizes
    template = bench.texts.fresh(sizes.template)
    contenders = {
        OURS: bench.ours(),
        INT8: bench.ours("ours int8", quantization="int8"),
        PEFT: bench.peer("peft"),
        VLLM: bench.peer("vllm"),
    }

    def question() -> list[dict[str, object]]:
        return [request.as_json() for request in bench.requests(bench.soft_prompts[:1], tokens=8, system=template)]

    work = {
        name: lambda contender=contender: contender.ask("answer", requests=question(), new_tokens=1)["seconds"] * 1000
        for name, contender in contenders.items()
        if contender is not None
    }
    times = interleave(work, 2 * sizes.rounds, warm_up=2)
    scenario = Scenario(
        name="first_token",
        title=f"Warm time to first token: soft prompt, a shared template of {sizes.template} tokens, a fresh question of 8",
        unit="ms",
        better="lower",
        samples=times,
        rows=[
            Row(
                f"warm time to first token, 20-token soft prompt + {sizes.template}-token shared template + short question, of PEFT's",
                Target("<=", 0.1, "x"),
                median_ratio(times[OURS], times[PEFT]) if PEFT in times else None,
            )
        ],
    )
    if scenario.rows[0].met is False:
        scenario.profile = bench.ours().ask("profile", requests=question(), new_tokens=1)
    return scenario
