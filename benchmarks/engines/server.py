"""A vLLM server for the time of a measurement, started with the line that ``serve-command`` prints."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.process import ContenderFailedError
from langchain_softprompt.serving import ServerPlan, server_command, write_folder
from langchain_softprompt.serving.plan import named, served_model
from langchain_softprompt.soft_prompt import SoftPrompt

_MOST_SECONDS = 900.0  # it compiles its kernels first


@contextmanager
def vllm_server(python: Path, model: Path, soft_prompts: list[SoftPrompt], work: Path, *, rows: int) -> Iterator[str]:
    """Start one, give its URL, and end it.

    Args:
        python: A Python with vLLM and this package in it.
        model: The model's folder.
        soft_prompts: What it serves.
        work: Where its files and its log go.
        rows: Most requests that run together, as in the other engine.

    Raises:
        ContenderFailedError: It did not start.
    """
    about = served_model(str(model))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    plan = ServerPlan(
        model=about.place,
        revision=None,
        served_name=about.name,
        soft_prompts=named(soft_prompts),
        folder=work / "server",
        chat_template=about.chat_template,
        max_model_len=1024,
        port=port,
        cpu_cache_gib=1,
    )
    write_folder(plan)
    command = server_command(plan)
    arguments = [str(python), *command.arguments[1:], "--max-num-seqs", str(rows)]
    variables = {**os.environ, **command.environment, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    log = work / "server.log"
    with log.open("wb") as written:
        process = subprocess.Popen(arguments, env=variables, cwd=work, stdout=written, stderr=written, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + _MOST_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > until:
                msg = f"The vLLM server did not start:\n{log.read_text(errors='replace')[-2000:]}"
                raise ContenderFailedError(msg)
            time.sleep(0.5)
        yield url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            _end(process)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
