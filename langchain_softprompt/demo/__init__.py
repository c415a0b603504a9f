"""The main job on the embedded model: one chain, three steps, three soft prompts, one frozen model in memory.

Run it with ``python -m langchain_softprompt.demo``. The soft prompts it ships are ordinary ones; use them in your
own code with `shipped`, and a fourth, which calls tools.

Files:
    tasks.py        the three steps: their soft prompts, templates and held-out rows
    comparison.py   the same rows through the hard prompt and through the soft prompt
    chain.py        the chain of the three steps
    screen.py       what the demo shows
"""

from __future__ import annotations

from langchain_softprompt.demo.tasks import shipped

__all__ = ["shipped"]
