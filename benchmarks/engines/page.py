"""docs/which-engine.md, from what was measured and what is known elsewhere, with its sources."""

from __future__ import annotations

from typing import Any

from benchmarks.process import ROOT

PAGE = ROOT / "docs" / "which-engine.md"
_HERE, _THERE = "in process", "vLLM"


def write_page(results: dict[str, Any]) -> None:
    """Write it."""
    PAGE.write_text(page(results), encoding="utf-8")


def page(results: dict[str, Any]) -> str:
    """The page as Markdown."""
    machine = results["machine"]
    units = ", ".join(machine["vector_units"]) or "no vector units that are known"
    rows = "\n".join(_row(one) for one in results["chats"])
    return f"""\
<!-- Made by `make bench` from benchmarks/results/engines.json. Don't edit: change benchmarks/engines/page.py, or measure again. -->

# Which engine when

Both serve the same chain; `engine=` is the one argument that differs ([](vllm.md)).

| | the engine in your process | vLLM servers |
| --- | --- | --- |
| to install | this package | a server: vLLM, this package, its start line |
| where the weights are | in your process, loaded at the first call | on the servers; your process holds tokenizer and configuration |
| memory for SmolLM2-135M on a CPU | 0.7 GB in one process | 3.6 GB in three |
| models | any causal language model of transformers | those that vLLM serves |
| soft prompts | all types | all types: embeddings travel with the request, keys and values lie on the server |
| quantization | int8 on the CPU | vLLM's own |
| several GPUs, several machines | no | yes |
| processes that share one model | no, each loads its own | yes |
| answers | the same in float32, greedy, token by token (`make test-vllm`) | |
| scores of many labels | one pass over a tree of them | a short request for each token |

**Take the engine in your process** to develop, to test, on a laptop, for a batch job or a service that one machine carries.
**Take vLLM** when traffic needs a GPU's batches, more than one GPU or machine, or when several services share a model.

## Measured on a CPU

Chats that come at once, streamed through `ChatSoftPrompt`: {results["text_tokens"]} tokens of new text each, {results["new_tokens"]} new tokens, four soft prompts of
{results["virtual_tokens"][0]} virtual tokens mixed (two as embeddings, two as keys and values). SmolLM2-135M-Instruct in {results["weights"]}; {machine["cpu"]}, one thread for
each engine, though a server's three processes also use a second core; vLLM {results["vllm"]}. Medians of {results["rounds"]} rounds, interleaved; a ratio is the median of the ratios within a round.

| chats at once | in process, tokens/s | vLLM, tokens/s | in process is | first token in process | first token, vLLM | of vLLM's |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}

{_crossover(results["chats"])}

Which of them is ahead hangs on the CPU: vLLM's kernels use what it has ({units}). On another CPU [16 requests over 4 soft prompts](benchmarks.md)
came out the other way round, against vLLM without a server. Measure on yours: `make bench PEERS=vllm`, or `python -m benchmarks.engines`.

Measured on {results["day"]} with other work on the machine at times (load {machine["load_before"]} before, {machine["load_after"]} after). vLLM's CPU build is a third party's, and CPUs are not
what vLLM is made for: this says nothing about GPUs.

## What is known of GPUs

Not measured here; what others report, with their settings:

| what | reported | source |
| --- | --- | --- |
| vLLM against transformers' `generate` in a loop | up to 24x the throughput, LLaMA-7B on an A10G, 13B on an A100 | vLLM's first announcement, 2023 |
| vLLM with cached prompt embeddings against without | 3,178 to 26,165 tokens/s, Llama-3.2-1B on an A100, a prefix that repeats | vllm-project/vllm pull request 27219 |
| keys and values loaded in place of a text prefix read | 1.0x at 256 tokens, 1.8x at 1,000, 4.4x at 4,000, 10.6x at 16,000; Llama-3.2-1B on a W7900 | knlp.io, cartridges with a vLLM connector |
| many adapters in one batch against one after the other | 4x and more (S-LoRA, Punica; LoRA, not soft prompts) | arXiv 2311.03285, 2310.18547 |

The engine in this process runs on a GPU too, row by row of its own batches, without vLLM's kernels: expect vLLM to win there as soon as
a few requests come at once. Where exactly was not measured.
"""  # noqa: E501 - tables


def _row(one: dict[str, Any]) -> str:
    speed, first = one["tokens_a_second"], one["first_token"]
    return (
        f"| {one['at_once']} | {speed[_HERE]:.1f} | {speed[_THERE]:.1f} | {one['throughput_ratio']:.2f}x | "
        f"{first[_HERE]:.2f} s | {first[_THERE]:.2f} s | {one['first_token_ratio']:.2f}x |"
    )


def _crossover(chats: list[dict[str, Any]]) -> str:
    slower = [one["at_once"] for one in chats if one["throughput_ratio"] < 1]
    if not slower:
        most = chats[-1]["at_once"]
        return f"There is no crossover up to {most} chats at once: on this CPU the engine in the process is the faster one throughout."
    return f"The crossover is at {min(slower)} chats at once: from there vLLM makes more tokens a second on this CPU."
