"""SoftPrompt x FrozenModel -> KVPrefix: the one idea of this package.

Files:
    kv_prefix.py        KVPrefix: keys and values that a row's cache starts from
    compiling.py        segments (token ids, embedding rows, ready keys and values) become a KVPrefix
    exporting.py        any soft prompt as keys and values that plain PEFT loads, type CARTRIDGE
    run.py              Run: a run of tokens with its keys and values, in a tree of shared heads
    store.py            PrefixStore: compiled soft prompts and text after them, kept within a byte budget
    probes.py           run_probes: recorded probes read again
    probe_report.py     ProbeReport: same, drifted or broken
    probe_recording.py  choose, record and store probes
    probe_watch.py      once for each model and soft prompt: a warning when it has drifted
"""

from __future__ import annotations

from langchain_softprompt.prefix.compiling import (
    EmbeddingRows,
    KeyValues,
    Segment,
    TokenIds,
    check_fingerprint,
    check_finite,
    compile_prefix,
    compile_segments,
    non_finite_answers,
    soft_segment,
)
from langchain_softprompt.prefix.exporting import export_cartridge
from langchain_softprompt.prefix.kv_prefix import KVPrefix, cache_tensors
from langchain_softprompt.prefix.probe_recording import choose_probes, record_probes, with_probes
from langchain_softprompt.prefix.probe_report import ProbeOutcome, ProbeReport, Verdict, compare_probe, report_of
from langchain_softprompt.prefix.probe_watch import watch_drift
from langchain_softprompt.prefix.probes import run_probes
from langchain_softprompt.prefix.store import SHORTEST_RUN, FoundHead, PrefixStore, SoftName, soft_name

__all__ = [
    "SHORTEST_RUN",
    "EmbeddingRows",
    "FoundHead",
    "KVPrefix",
    "KeyValues",
    "PrefixStore",
    "ProbeOutcome",
    "ProbeReport",
    "Segment",
    "SoftName",
    "TokenIds",
    "Verdict",
    "cache_tensors",
    "check_fingerprint",
    "check_finite",
    "choose_probes",
    "compare_probe",
    "compile_prefix",
    "compile_segments",
    "export_cartridge",
    "non_finite_answers",
    "record_probes",
    "report_of",
    "run_probes",
    "soft_name",
    "soft_segment",
    "watch_drift",
    "with_probes",
]
