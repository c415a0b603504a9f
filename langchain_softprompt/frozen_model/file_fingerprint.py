"""The fingerprint of weights that lie in files, without loading them."""
from __future__ import annotations
from pathlib import Path
def file_fingerprint(folder: Path) -> str | None:
    return None
