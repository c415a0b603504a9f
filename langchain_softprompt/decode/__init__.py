"""One forward step over rows that have different prefixes: prefill a request alone, decode rows together.

Files:
    prefill.py      prompts, read chunk by chunk on top of their compiled prefixes, several in one pass
    tree.py         TokenTree: continuations of a prompt by their shared beginnings
    continuing.py   Continuing: given continuations, read after a prompt for the log-probability of each token
    rows.py         RowStore: what the engine asks of a store of rows, and which store a model gets
    merged.py       MergedRows: all rows in one slotted cache, one forward a step
    outcome.py      StepOutcome: the rows' logits after a step, and their errors
    separate.py     SeparateRows: each row in its native cache, one forward a row
"""

from __future__ import annotations

from langchain_softprompt.decode.continuing import Continuing, continue_prompt
from langchain_softprompt.decode.merged import SPARE_COLUMNS, MergedRows
from langchain_softprompt.decode.outcome import StepOutcome
from langchain_softprompt.decode.prefill import Prefill, Reading, read_together
from langchain_softprompt.decode.rows import RowStore, new_row_store
from langchain_softprompt.decode.tree import TokenTree

__all__ = [
    "SPARE_COLUMNS",
    "Continuing",
    "MergedRows",
    "Prefill",
    "Reading",
    "RowStore",
    "StepOutcome",
    "TokenTree",
    "continue_prompt",
    "new_row_store",
    "read_together",
]
