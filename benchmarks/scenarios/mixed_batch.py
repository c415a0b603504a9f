"""Many requests over a few soft prompts at once."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench, check_alike
from benchmarks.measure import interleave, median_ratio
from benchmarks.results import Row, Scenario, Target
from benchmarks.texts import turns
from benchmarks.workload import Answer

OURS, PEFT, VLLM = "ours, ChatSoftPrompt.batch", "PEFT, set_adapter + generate, one by one", "vLLM, prompt embeddings in one batch"
GROUPED = "PEFT, grouped by soft prompt (answers wrong)"
LANGCHAIN = "langchain-huggingface chat .batch, bare model"
PADDED = "langchain-huggingface LLM .batch, padded, bare model"


def mixed_batch(bench: Bench) -> Scenario:
    """16 requests over 4 soft prompts: ours in one batch, the others as best they can."""
    sizes = bench.sizes
    names = turns(bench.soft_prompts, sizes.rows)
    ours, peft, vllm, langchain = bench.ours(), bench.peer("peft"), bench.peer("vllm"), bench.peer("langchain-huggingface")
    work: dict[str, Callable[[], Answer]] = {OURS: lambda: ours.answer(bench.requests(names), sizes.new_tokens)}
    if peft is not None:
        work[PEFT] = lambda: peft.answer(bench.requests(names), sizes.new_tokens)
        work[GROUPED] = lambda: peft.answer(bench.requests(names), sizes.new_tokens, grouped=True)
    if langchain is not None:
        work[LANGCHAIN] = lambda: langchain.answer(bench.requests([None] * sizes.rows), sizes.new_tokens)
        work[PADDED] = lambda: langchain.answer(bench.requests([None] * sizes.rows), sizes.new_tokens, batched=True)
    if vllm is not None:
        work[VLLM] = lambda: vllm.answer(bench.requests(names), sizes.new_tokens)
    answers = interleave(work, sizes.rounds)
    speeds = {name: [answer.tokens_per_second for answer in seen] for name, seen in answers.items()}

    def ratio(other: str) -> float | None:
        return median_ratio(speeds[OURS], speeds[other]) if other in speeds else None

    what = f"{sizes.rows} requests over {sizes.soft_prompts} soft prompts, {sizes.new_tokens} new tokens each, "
    scenario = Scenario(
        name="mixed_batch",
        title=f"{sizes.rows} requests over {sizes.soft_prompts} soft prompts, {sizes.new_tokens} new tokens each",
        unit="tokens/s",
        samples=speeds,
        rows=[
            Row(what + "against PEFT one by one", Target(">=", 16.0, "x"), ratio(PEFT)),
            Row(what + "against vLLM with the same soft prompts as prompt embeddings", Target(">=", 1.0, "x"), ratio(VLLM)),
        ],
        facts=check_alike({name: seen[-1] for name, seen in answers.items()}, sizes.new_tokens),
    )
    if any(row.met is False for row in scenario.rows):
        scenario.profile = ours.ask(
            "profile", requests=[request.as_json() for request in bench.requests(names)], new_tokens=sizes.new_tokens
        )
    return scenario
