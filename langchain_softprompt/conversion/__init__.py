"""Soft prompts in other projects' formats become ours: read with distrust, and what could run code is refused by name.

Files:
    convert.py    convert: which format a file is in; Converted
    caikit.py     ``decoder.pt`` of caikit and TGIS: one pickled tensor, looked through before it is unpickled
    koboldai.py   KoboldAI's ``.zip``: ``tensor.npy`` and ``meta.json``
    refused.py    what is never read: why, and what to do instead
    archive.py    Archive: a zip file in memory whose members are few, small and plainly named
    npy.py        a matrix out of an ``.npy`` file, without numpy's pickles
    rows.py       a matrix becomes a soft prompt of type ``PROMPT_TUNING``
"""

from __future__ import annotations

from langchain_softprompt.conversion.convert import Converted, convert

__all__ = ["Converted", "convert"]
