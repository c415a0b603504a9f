"""One request, once its prompt is read."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.measure import interleave, median_ratio
from benchmarks.process import ContenderProcess
from benchmarks.results import Row, Scenario, Target

OURS, INT8, PEFT, VLLM = "ours, bf16", "ours, int8", "PEFT, bf16", "vLLM, bf16"


def decode(bench: Bench) -> Scenario:
    """Tokens a second of one request: the time of a whole answer less that of an answer of one token."""
    sizes = bench.sizes
    ours = {OURS: bench.ours(), INT8: bench.ours("ours int8", quantization="int8")}
    contenders = {**ours, PEFT: bench.peer("peft"), VLLM: bench.peer("vllm")}
    whole: dict[str, list[float]] = {}

    def turn(name: str, contender: ContenderProcess) -> Callable[[], float]:
        def speed() -> float:
            first = contender.answer(bench.requests(bench.soft_prompts[:1]), 1)
            answer = contender.answer(bench.requests(bench.soft_prompts[:1]), 1 + sizes.new_tokens)
            whole.setdefault(name, []).append(answer.tokens_per_second)
            return (answer.new_tokens[0] - 1) / max(answer.seconds - first.seconds, 1e-9)

        return speed

    work = {name: turn(name, contender) for name, contender in contenders.items() if contender is not None}
    speeds = interleave(work, 2 * sizes.rounds)

    def ratio(mine: str, other: str) -> float | None:
        return median_ratio(speeds[mine], speeds[other]) if other in speeds else None

    scenario = Scenario(
        name="decode",
        title=f"One request, decode of {sizes.new_tokens} tokens",
        unit="tokens/s",
        samples=speeds,
        rows=[
            Row("one request, decode in bf16, against PEFT generate", Target(">=", 1.5, "x"), ratio(OURS, PEFT)),
            Row("one request, decode in int8, against PEFT generate", Target(">=", 3.0, "x"), ratio(INT8, PEFT)),
        ],
        facts={"tokens_per_second_with_prompt": {name: seen[1:] for name, seen in whole.items()}},
    )
    missed = next((name for row, name in zip(scenario.rows, (OURS, INT8), strict=True) if row.met is False), None)
    if missed is not None:
        requests = [request.as_json() for request in bench.requests(bench.soft_prompts[:1])]
        scenario.profile = ours[missed].ask("profile", requests=requests, new_tokens=sizes.new_tokens)
    return scenario
