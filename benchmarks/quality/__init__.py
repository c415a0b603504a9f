"""How good soft prompts are, on four public data sets: `python -m benchmarks.quality --help`.

Files:
    tasks.py      the data sets, their hard prompts, and how long to train on each
    cells.py      one cell of the table: a task, a way, a seed; trained, then scored on the test rows
    starts.py     what PEFT's own methods start as, made by PEFT
    page.py       docs/quality.md, written from the results
"""
