"""Benchmarks: this package against its peers, on one thread, side by side. `python -m benchmarks --help`, or `make bench`.

Files:
    __main__.py      options; runs the scenarios, writes the results and the page
    scenarios/       one file a row (or two) of the table of targets
    bench.py         Bench: what a scenario is given: sizes, texts, contenders
    measure.py       interleaved rounds and their medians
    texts.py         texts nobody has seen, of exact length; which soft prompt each asks for
    workload.py      Request: what every contender is asked, in the same words
    material.py      the model's folder and the soft prompts that all contenders serve
    process.py       a contender's process, seen from here
    child.py         the same, seen from inside
    ours.py          this package as a contender; forward_clock.py and profiling.py look into it
    peers/           the others, each in an environment of its own
    environments.py  makes those environments from requirements/
    machine.py       what was measured on
    results.py       what was measured, as JSON
    report.py        the same as a page; chart.py as a picture
"""
