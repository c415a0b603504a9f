"""What it costs to serve another soft prompt than a moment ago."""

from __future__ import annotations

from statistics import median

from benchmarks.bench import Bench
from benchmarks.measure import median_error, median_ratio
from benchmarks.results import Row, Scenario, Target

SAME, OTHER = "same soft prompt as before", "another soft prompt"


def switching(bench: Bench) -> Scenario:
    """Requests of one token in a row; every second one has another soft prompt than the one before it."""
    sizes, ours = bench.sizes, bench.ours()
    names = bench.soft_prompts[:2]
    seen: dict[str, list[float]] = {SAME: [], OTHER: []}

    def first_token(name: str) -> float:
        return ours.answer(bench.requests([name]), 1).seconds * 1000

    for name in names:
        first_token(name)
    for number in range(sizes.rounds * sizes.repeats):
        name = names[number % 2]
        seen[OTHER].append(first_token(name))
        seen[SAME].append(first_token(name))

    unread = list(bench.material.soft_prompts)[-(sizes.rounds * sizes.repeats) :]
    read = ours.ask(
        "first_compile",
        text="\n".join(bench.texts.fresh(sizes.text) for _ in unread),
        longer_text="\n".join(bench.texts.fresh(sizes.text + 20) for _ in unread),
        soft_prompts=unread,
        times=len(unread),
    )
    scenario = Scenario(
        name="switching",
        title=f"Time to first token of {sizes.text} tokens of text after a request with the same soft prompt, or with another",
        unit="ms",
        better="lower",
        samples=seen,
        rows=[
            _switch(seen[SAME], seen[OTHER]),
            Row(
                "first compile of a 20-token soft prompt, of a prefill of 20 tokens more",
                Target("<=", 1.02, "x"),
                median_ratio(read["compile"], read["prefill"]),
                "Time to the first token of a text behind a soft prompt that was never read, over that of a text 20 tokens longer; "
                "2 % are for noise.",
            ),
        ],
        facts={"first_compile_ms": 1000 * median(read["compile"]), "prefill_ms": 1000 * median(read["prefill"])},
    )
    if any(row.met is False for row in scenario.rows):
        requests = [request.as_json() for request in bench.requests(names)]
        scenario.profile = ours.ask("profile", requests=requests, new_tokens=1)
    return scenario


def _switch(same: list[float], other: list[float]) -> Row:
    """The median over pairs that were measured one right after the other, unless it is lost in the noise."""
    target = Target("<", 1.0, "ms")
    differences = [one - before for one, before in zip(other, same, strict=True)]
    middle, error = median(differences), median_error(differences)
    known = error <= target.value
    note = f"Median of {len(differences)} pairs {middle:.2f} ms, standard error {error:.2f} ms" + (
        "." if known else ": too unsteady to tell."
    )
    return Row("switching soft prompts between two requests, warm", target, middle if known else None, note)
