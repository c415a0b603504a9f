"""Servers for tests: started by the line that is printed for users, on a free port, ended with everything they started."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from langchain_softprompt.serving import ServerPlan, server_command, write_folder
from langchain_softprompt.serving.plan import named, served_model
from langchain_softprompt.soft_prompt import SoftPrompt

PYTHON = os.environ.get("VLLM_PYTHON", "")
_MOST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class RunningServer:
    """One server.

    Attributes:
        url: Where it listens.
        folder: The folder that it reads.
        process: Its first process.
        log: What it wrote.
    """

    url: str
    folder: Path
    process: subprocess.Popen[bytes]
    log: Path

    def metric(self, name: str) -> float:
        """The sum of one of its counters or gauges over all labels."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def kill(self) -> None:
        """End it at once, as a machine that fails does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


@contextmanager
def running(
    folder: Path,
    model: str,
    soft_prompts: list[SoftPrompt],
    *more: str,
    plugin: bool = True,
    gpus: int = 1,
    environment: dict[str, str] | None = None,
) -> Iterator[RunningServer]:
    """Start a server and end it.

    Args:
        folder: Where its files and its log go.
        model: The model, as users name it.
        soft_prompts: What it serves.
        more: Further flags.
        plugin: Whether the plug-in is enabled there.
        gpus: Processes that one copy of the model is cut over.
        environment: Further variables.
    """
    about = served_model(model)
    plan = ServerPlan(
        model=about.place,
        revision=about.revision,
        served_name=about.name,
        soft_prompts=named(soft_prompts),
        folder=folder / "server",
        chat_template=about.chat_template,
        max_model_len=512,
        dtype="float32",
        port=_free_port(),
        gpus=gpus,
        cpu_cache_gib=1,
    )
    write_folder(plan)
    command = server_command(plan)
    arguments = [PYTHON, *command.arguments[1:], "--enforce-eager", "--max-num-seqs", "16", *more]
    variables = {**command.environment, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", **(environment or {})}
    if not plugin:
        del variables["VLLM_PLUGINS"]
        at = arguments.index("--kv-transfer-config")
        del arguments[at : at + 2]
    log = folder / "server.log"
    with log.open("wb") as written:
        written.write((shlex.join(arguments) + "\n").encode())
        written.flush()
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        process = subprocess.Popen(arguments, env={**kept, **variables}, cwd=folder, stdout=written, stderr=written, start_new_session=True)
    server = RunningServer(f"http://127.0.0.1:{plan.port}", plan.folder, process, log)
    try:
        _wait_for(server)
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_for(server: RunningServer) -> None:
    until = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < until:
        if server.process.poll() is not None:
            break
        try:
            if httpx.get(f"{server.url}/health").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    tail = server.log.read_text(errors="replace")[-4000:]
    sys.stderr.write(tail)
    msg = f"The vLLM server did not start; its log ends:\n{tail}"
    raise AssertionError(msg)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


__all__ = ["PYTHON", "RunningServer", "running"]
