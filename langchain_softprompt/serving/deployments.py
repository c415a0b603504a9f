"""The same server for several nodes, Docker, Kubernetes and Ray, as text to start from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from langchain_softprompt import __version__
from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.serving.command import ServerCommand, server_command
from langchain_softprompt.serving.plan import ServerPlan

_OF_NODES = ("nodes", "data-parallel", "ray")
_IMAGE = "vllm/vllm-openai:v0.32.0"
_MOUNT = "/srv/soft-prompts"
_MODEL_MOUNT = "/srv/model"
_LOOPBACK, _ANYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104 - printed for a server that other machines ask
# What the image has stays as it is: vLLM is built for its versions of torch and transformers.
_INSTALL = f"pip freeze > /tmp/held.txt && pip install --no-cache-dir -c /tmp/held.txt 'langchain-softprompt=={__version__}'"


def deployment(plan: ServerPlan, target: str) -> str:
    """How to start what is planned.

    Args:
        plan: What is to be served.
        target: One of `TARGETS`.

    Raises:
        InvalidSettingsError: There is no such target.
    """
    if target not in TARGETS:
        msg = f"target: expected one of {', '.join(TARGETS)}, found {target!r}."
        raise InvalidSettingsError(msg)
    if plan.nodes > 1 and target not in _OF_NODES:
        msg = f"nodes: --for {target} starts one server; several machines are --for {', '.join(_OF_NODES)}."
        raise InvalidSettingsError(msg)
    return TARGETS[target](plan)


def _shell(plan: ServerPlan) -> str:
    return server_command(plan).shell()


def _nodes(plan: ServerPlan) -> str:
    """One server a node, each a whole copy of the model: the client sends a soft prompt's requests to one of them."""
    return "\n".join(
        [
            "# The same line on every node. Nothing ties the nodes together: the client knows all their addresses, and sends the",
            "# requests of one soft prompt to one node, whose cache stays warm.",
            server_command(replace(_reachable(plan), copies=plan.copies_a_node, nodes=1)).shell(),
            "# In the chain:",
            f'#   ChatSoftPrompt(model=..., engine=VLLMEngine("http://node-1:{plan.port}", "http://node-2:{plan.port}"))',
        ]
    )


def _docker(plan: ServerPlan) -> str:
    inner = server_command(_contained(plan), folder=_MOUNT)
    variables = [f"-e {name}={shlex.quote(value)}" for name, value in inner.environment.items()]
    mounts = [f"-v {shlex.quote(str(plan.folder.resolve()))}:{_MOUNT}:ro"]
    if _is_local(plan):
        mounts.append(f"-v {shlex.quote(plan.model)}:{_MODEL_MOUNT}:ro")
    return "\n".join(
        [
            f"docker run --gpus all --ipc=host -p {plan.port}:{plan.port} \\",
            f"    {' '.join([*mounts, *variables])} \\",
            f"    --entrypoint bash {_IMAGE} -c {shlex.quote(_inside(inner))}",
        ]
    )


def _inside(command: ServerCommand) -> str:
    return f"{_INSTALL} && exec {shlex.join(['python3', *command.arguments[1:]])}"


def _is_local(plan: ServerPlan) -> bool:
    return Path(plan.model).is_dir()


def _reachable(plan: ServerPlan) -> ServerPlan:
    """The plan of a server that other machines ask."""
    return replace(plan, host=_ANYWHERE if plan.host == _LOOPBACK else plan.host)


def _contained(plan: ServerPlan) -> ServerPlan:
    """The plan as it is inside a container, where a model's folder is mounted at a place of its own."""
    return replace(_reachable(plan), model=_MODEL_MOUNT if _is_local(plan) else plan.model)


def _kubernetes(plan: ServerPlan) -> str:
    """A StatefulSet: its pods have names that stay, so that the client's choice among them stays, too."""
    command = server_command(_contained(plan), folder=_MOUNT)
    variables = "".join(f"\n            - {{name: {name}, value: {json.dumps(value)}}}" for name, value in command.environment.items())
    local = _is_local(plan)
    model_mount = f"\n            - {{name: model, mountPath: {_MODEL_MOUNT}, readOnly: true}}" if local else ""
    model_volume = "\n        - name: model\n          persistentVolumeClaim: {claimName: model, readOnly: true}" if local else ""
    also = f", and the model's folder {plan.model} on another" if local else ""
    hosts = ", ".join(f'"http://vllm-{number}.vllm:{plan.port}"' for number in range(2))
    return f"""\
# kubectl create configmap holds 1 MiB at most: put the folder {plan.folder} on a volume that all pods read{also}.
# In the chain: ChatSoftPrompt(model=..., engine=VLLMEngine({hosts}))
apiVersion: v1
kind: Service
metadata:
  name: vllm
spec:
  clusterIP: None # each pod has an address of its own, and the client routes by soft prompt
  selector: {{app: vllm}}
  ports: [{{port: {plan.port}}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: vllm
spec:
  serviceName: vllm
  replicas: 2
  selector:
    matchLabels: {{app: vllm}}
  template:
    metadata:
      labels: {{app: vllm}}
    spec:
      containers:
        - name: vllm
          image: {_IMAGE}
          command: ["bash", "-c"]
          args: [{json.dumps(_inside(command))}]
          env:{variables}
          ports: [{{containerPort: {plan.port}}}]
          readinessProbe:
            httpGet: {{path: /health, port: {plan.port}}}
            periodSeconds: 5
          resources:
            limits: {{nvidia.com/gpu: {plan.gpus * plan.copies}}}
          volumeMounts:
            - {{name: soft-prompts, mountPath: {_MOUNT}, readOnly: true}}{model_mount}
      volumes:
        - name: soft-prompts
          persistentVolumeClaim: {{claimName: soft-prompts, readOnly: true}}{model_volume}
"""


def _data_parallel(plan: ServerPlan) -> str:
    """VLLM's own data parallelism over nodes: one address, and copies that each have a cache of their own."""
    here = plan.copies_a_node
    shared = ["--data-parallel-size-local", str(here), "--data-parallel-address", "NODE_1", "--data-parallel-rpc-port", "13345"]
    whole = _served(plan)
    lines = [
        "# The folder has to be at the same place on all nodes.",
        "# On the first, whose address is put in the place of NODE_1:",
        _shell_of(whole, *shared),
    ]
    for node in range(1, plan.nodes):
        lines += [f"# On node {node + 1}:", _shell_of(whole, "--headless", "--data-parallel-start-rank", str(node * here), *shared)]
    return "\n".join(lines)


def _ray(plan: ServerPlan) -> str:
    """The same, with Ray to start the copies on its nodes; the routes stay vLLM's, so that all soft prompts are served."""
    more = ["--data-parallel-backend", "ray", "--data-parallel-size-local", str(plan.copies_a_node)]
    return "\n".join(
        [
            "# On the first node: ray start --head --port=6379",
            "# On the others:     ray start --address=NODE_1:6379",
            "# The folder has to be at the same place on all of them. Then on the first node:",
            _shell_of(_served(plan), *more),
        ]
    )


def _served(plan: ServerPlan) -> ServerCommand:
    """The command as ``vllm serve``, which alone knows about other nodes."""
    command = server_command(_reachable(plan))
    at = command.arguments.index("--model")
    return ServerCommand(command.environment, ("vllm", "serve", command.arguments[at + 1], *command.arguments[at + 2 :]))


def _shell_of(command: ServerCommand, *more: str) -> str:
    return ServerCommand(command.environment, (*command.arguments, *more)).shell()


TARGETS: dict[str, Callable[[ServerPlan], str]] = {
    "shell": _shell,
    "nodes": _nodes,
    "docker": _docker,
    "kubernetes": _kubernetes,
    "data-parallel": _data_parallel,
    "ray": _ray,
}


__all__ = ["TARGETS", "deployment"]
