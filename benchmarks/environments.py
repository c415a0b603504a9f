"""A Python for each peer: one that was named, ours, or a virtual environment made from pinned requirements."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import ROOT, ContenderFailedError

_HERE = ROOT / "benchmarks"


@dataclass(frozen=True, slots=True)
class Environment:
    """What a contender runs in.

    Attributes:
        module: Which module of this package to run.
        ours: Whether our own Python has what it needs.
        remove: Packages to take out again, as what needs them is not used and they don't fit the rest.
        variables: Environment variables it needs.
    """

    module: str
    ours: bool = False
    remove: tuple[str, ...] = ()
    variables: Mapping[str, str] | None = None


ENVIRONMENTS = {
    "ours": Environment("benchmarks.ours", ours=True),
    "peft": Environment("benchmarks.peers.peft", ours=True),
    "langchain-huggingface": Environment("benchmarks.peers.langchain_huggingface"),
    "vllm": Environment(
        "benchmarks.peers.vllm",
        remove=("torchvision", "torchaudio", "torchcodec"),
        variables={"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
    ),
}


def find_python(contender: str, named: Mapping[str, Path]) -> Path:
    """The Python that runs a contender.

    Args:
        contender: Its name.
        named: Interpreters that were named for contenders.

    Raises:
        ContenderFailedError: Its environment can't be made.
    """
    if contender in named:
        if not named[contender].is_file():
            msg = f"There is no {named[contender]}."
            raise ContenderFailedError(msg)
        return named[contender].absolute()
    if ENVIRONMENTS[contender].ours:
        return Path(sys.executable)
    return _made(contender, ENVIRONMENTS[contender].remove)


def find_server_python(named: Path | None = None) -> Path:
    """A Python that has vLLM and this package: the one that was named, or that of the contender ``vllm`` with this package in it.

    Raises:
        ContenderFailedError: It is not there, or can't be made.
    """
    if named is not None:
        return find_python("vllm", {"vllm": named})
    python = find_python("vllm", {})
    if subprocess.run([str(python), "-c", "import langchain_softprompt, peft"], capture_output=True, check=False).returncode:
        _run(
            [
                str(python),
                "-m",
                "pip",
                "--disable-pip-version-check",
                "--no-input",
                "--quiet",
                "install",
                "--no-compile",
                "--editable",
                str(ROOT),
            ]
        )
    return python


def _made(name: str, remove: Sequence[str]) -> Path:
    requirements = _HERE / "requirements" / f"{name}.txt"
    folder = _HERE / ".venvs" / name
    python, stamp = folder / "bin" / "python", folder / ".made-from"
    made_from = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="ascii") == made_from:
        return python
    print(f"Making the environment of {name} in {folder.relative_to(ROOT)}", flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    _run([*pip, "install", "--no-compile", "--requirement", str(requirements)])
    if remove:
        _run([*pip, "uninstall", "--yes", *remove])
    stamp.write_text(made_from, encoding="ascii")
    return python


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        tail = [line for line in done.stdout.splitlines() if line.strip()][-1:]
        raise ContenderFailedError("Its environment could not be made: " + " ".join(tail))
