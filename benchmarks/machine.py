"""What was measured on: enough to understand the ratios, nothing that names the machine."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
    "i8mm",
    "sve",
)
_PACKAGES = ("langchain-softprompt", "torch", "transformers", "peft", "langchain-core")


def machine_facts() -> dict[str, Any]:
    """Processor, its vector units, memory, Python and the versions of what our own side runs on."""
    cpu = _read("/proc/cpuinfo")
    flags = set(next((line.partition(":")[2].split() for line in cpu.splitlines() if line.lower().startswith(("flags", "features"))), []))
    return {
        "cpu": cpu_model(cpu) or platform.processor() or platform.machine(),
        "cores_seen": os.cpu_count(),
        "threads_used": 1,
        "vector_units": [flag for flag in _FLAGS if flag in flags],
        "memory_gb": round(_kilobytes(_read("/proc/meminfo"), "MemTotal") / 1e6, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_before": load(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def load() -> float:
    """How many processes wanted to run over the last minute."""
    return round(os.getloadavg()[0], 2)


def cpu_model(cpuinfo: str) -> str:
    """The processor's name as Linux tells it."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _kilobytes(meminfo: str, name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+)", meminfo, re.MULTILINE)
    return int(found.group(1)) if found else 0


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError:
        return ""
