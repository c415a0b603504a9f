"""The server's command line and environment."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from langchain_softprompt.serving.plan import ServerPlan
from langchain_softprompt.vllm_plugin.names import CONNECTOR, CONNECTOR_MODULE, PLUGIN, SALT_FILE, SOURCES

CHAT_TEMPLATE = "chat_template.jinja"
SOFT_PROMPTS = "soft_prompts"  # the folder inside the plan's
SALT = "cache_salt"


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """What starts a server.

    Attributes:
        environment: Variables that have to be set.
        arguments: The command and its arguments.
    """

    environment: dict[str, str]
    arguments: tuple[str, ...]

    def shell(self) -> str:
        """For a POSIX shell, a flag a line."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        lines: list[list[str]] = [[*variables, *map(shlex.quote, self.arguments[:3])]]
        for argument in self.arguments[3:]:
            if argument.startswith("--"):
                lines.append([])
            lines[-1].append(shlex.quote(argument))
        return " \\\n    ".join(" ".join(line) for line in lines)


def server_command(plan: ServerPlan, *, folder: str | None = None) -> ServerCommand:
    """The command of one server.

    Args:
        plan: What is to be served.
        folder: Where the server sees the plan's folder, should that be another place, as in a container.
    """
    place = Path(folder) if folder is not None else plan.folder
    flags = [*_model_flags(plan), "--host", plan.host, "--port", str(plan.port)]
    if plan.max_model_len is not None:
        flags += ["--max-model-len", str(plan.max_model_len)]
    if plan.gpus > 1:
        flags += ["--tensor-parallel-size", str(plan.gpus)]
    if plan.copies > 1:
        flags += ["--data-parallel-size", str(plan.copies)]
    # Clients say each sampling setting themselves: the model's own defaults must not come in between. Grammars are
    # llguidance's, as in process. What was cached is told in the usage.
    flags += ["--generation-config", "vllm", "--structured-outputs-config.backend", "guidance", "--enable-prompt-tokens-details"]
    if plan.sends_rows:
        flags += ["--enable-prompt-embeds", "--chat-template", str(place / CHAT_TEMPLATE)]
    if plan.writes_key_values:
        flags += ["--kv-transfer-config", connector_config(str(place / SOFT_PROMPTS), str(place / SALT))]
    environment = {"VLLM_PLUGINS": PLUGIN}
    if plan.cpu_cache_gib is not None:
        # Else vLLM asks for nearly all of the machine's memory; its smallest blocks on a CPU waste least of short soft prompts.
        environment["VLLM_CPU_KVCACHE_SPACE"] = str(plan.cpu_cache_gib)
        flags += ["--gpu-memory-utilization", "0.3", "--block-size", "32"]
        # vLLM 0.32 on a CPU comes down when it reads a prompt in parts whose answer is sampled with a seed.
        flags.append("--no-enable-chunked-prefill")
    # The routes that tell clients which model and which soft prompts are here are wanted in any case.
    return ServerCommand(environment, ("python", "-m", "vllm.entrypoints.openai.api_server", *flags))


def connector_config(soft_prompts: str, salt: str) -> str:
    """The connector's configuration, as JSON.

    Args:
        soft_prompts: The folder of soft prompts.
        salt: The file with the secret that cache salts are made of.
    """
    config = {
        "kv_connector": CONNECTOR,
        "kv_role": "kv_both",
        "kv_connector_module_path": CONNECTOR_MODULE,
        "kv_connector_extra_config": {SOURCES: [soft_prompts], SALT_FILE: salt},
    }
    return json.dumps(config)


def _model_flags(plan: ServerPlan) -> list[str]:
    flags = ["--model", plan.model, "--served-model-name", plan.served_name, "--dtype", plan.dtype]
    return flags + (["--revision", plan.revision] if plan.revision is not None else [])


__all__ = ["CHAT_TEMPLATE", "SALT", "SOFT_PROMPTS", "ServerCommand", "connector_config", "server_command"]
