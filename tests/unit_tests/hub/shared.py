"""A soft prompt's files, as they lie in a repository."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from langchain_softprompt.soft_prompt import BaseModelRecord, DataRecord, Manifest
from langchain_softprompt.testing import tiny_soft_prompt

MANIFEST = Manifest(
    description="Sorts letters.",
    base_model=BaseModelRecord(id="acme/tiny", revision="cd" * 20, fingerprint="ab" * 32),
    method="kv-prefix",
    data=DataRecord(digest="12" * 32, rows=3, validation_rows=1, source="letters", licence="CC0"),
)


def soft_prompt_files(seed: int = 0, *, manifest: Manifest | None = MANIFEST, inside: str = "") -> dict[str, bytes | None]:
    """The files by path."""
    with tempfile.TemporaryDirectory() as folder:
        replace(tiny_soft_prompt(seed), manifest=manifest).save(folder)
        return {inside + file.name: file.read_bytes() for file in sorted(Path(folder).iterdir()) if file.suffix != ".md"}


def in_new_process(code: str, cache: Path, url: str = "http://127.0.0.1:9", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a Hub cache of its own choosing: the client reads the environment once, at import."""
    given = {"HF_HUB_CACHE": str(cache), "HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **given}, capture_output=True, text=True, check=False, timeout=120
    )
