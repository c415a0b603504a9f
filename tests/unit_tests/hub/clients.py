"""What the tests of the loopback Hub push and pull, in this process or in one of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import CommitOperationAdd, constants

from tests.hub import TOKEN, LoopbackHub

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfApi

ROOT = Path(__file__).parents[3]
REPO = "acme/router"
by_xet = pytest.mark.skipif(constants.HF_HUB_DISABLE_XET, reason="Xet is disabled")
CARD = b"---\nlicense: mit\nlibrary_name: peft\nbase_model: acme/base\ntags: [soft-prompt]\n---\n# Router\n"


def noise(size: int, seed: str = "") -> bytes:
    """Bytes that don't compress; the same for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


SMALL = {
    "README.md": CARD,
    "adapter_config.json": b'{"peft_type": "PROMPT_TUNING"}' * 40,
    "deep/er/\u00fcn\u00ef c\u00f6d\u00e9 #1.txt": b"hello",
    "empty.txt": b"",
}
CONTENTS = {**SMALL, "adapter_model.safetensors": noise(100_000), "deep/other.safetensors": noise(130_000, "other")}


def push(api: HfApi, contents: Mapping[str, bytes], **options: Any) -> str:
    """Push files in one commit; its id."""
    operations = [CommitOperationAdd(path, content) for path, content in contents.items()]
    with warnings.catch_warnings():
        # How a client without Xet hands a body to its HTTP library is its own business.
        warnings.filterwarnings("ignore", "Use 'content=", DeprecationWarning)
        return str(api.create_commit(REPO, operations, commit_message="Push", **options).oid)


def pulled(folder: str | Path) -> dict[str, bytes]:
    """What lies in a folder, save for the file that every repository begins with."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    found.pop(".gitattributes", None)
    return found


def start(script: str, hub: LoopbackHub, home: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Run a script that has `api` and `arguments`, in a process of its own: the client reads its switches at import."""
    beginning = f"import sys; from huggingface_hub import HfApi; api = HfApi({hub.url!r}, token={TOKEN!r}); arguments = sys.argv[1:]\n"
    settings = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **settings, **environment}
    command = [sys.executable, "-c", beginning + script, *arguments]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def result_of(process: subprocess.Popen[str]) -> str:
    """What the script printed, if all went well."""
    out, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    return out.strip()
