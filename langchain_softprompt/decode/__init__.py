"""One forward step over rows that have different prefixes: prefill a request alone, decode rows together.

Files:
    prefill.py      one request, alone, chunk by chunk, on top of its compiled prefix
    rows.py         RowStore: what the engine asks of a store of rows, and which store a model gets
    merged.py       MergedRows: all rows in one slotted cache, one forward a step
    separate.py     SeparateRows: each row in its native cache, one forward a row
"""

from __future__ import annotations

from langchain_softprompt.decode.merged import SPARE_COLUMNS, MergedRows
from langchain_softprompt.decode.prefill import Prefill
from langchain_softprompt.decode.rows import RowStore, new_row_store

__all__ = ["SPARE_COLUMNS", "MergedRows", "Prefill", "RowStore", "new_row_store"]
