"""How a vLLM server has to be started for a model and some soft prompts. Nothing is started here, and vLLM is not needed.

Files:
    plan.py            ServerPlan: what is to be served, and what follows for the server
    chat_template.py   the model's chat template, with a branch for soft prompts
    command.py         the server's command line and environment
    deployments.py     the same for several nodes, Docker, Kubernetes and Ray
    folder.py          what a server reads: soft prompts and chat template in one folder
"""

from __future__ import annotations

from langchain_softprompt.serving.command import ServerCommand, server_command
from langchain_softprompt.serving.deployments import TARGETS, deployment
from langchain_softprompt.serving.folder import write_folder
from langchain_softprompt.serving.plan import ServedSoftPrompt, ServerPlan

__all__ = ["TARGETS", "ServedSoftPrompt", "ServerCommand", "ServerPlan", "deployment", "server_command", "write_folder"]
