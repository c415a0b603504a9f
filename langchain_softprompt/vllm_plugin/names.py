"""What server, client and command line have to call alike."""

from __future__ import annotations

PLUGIN = "langchain_softprompt"
"""The plug-in's name in ``VLLM_PLUGINS``."""

CONNECTOR = "SoftPromptConnector"
CONNECTOR_MODULE = "langchain_softprompt.vllm_plugin.connector"

SOURCES = "soft_prompts"
"""Where in the connector's configuration the folders of soft prompts stand."""

SALT_FILE = "salt_file"
"""Where there stands the file with the secret that cache salts are made of."""

CACHE_BYTES = "cache_bytes"
"""Where there stands how much memory a worker may use for soft prompts that are ready on its device."""

ROUTE = "/v1/soft_prompts"
"""What is served here."""

COMPLETIONS_ROUTE = "/v1/soft_prompts/completions"
"""Answers that wear a soft prompt of keys and values."""

SOFT_PROMPT_ROLE = "soft_prompt"
"""The role of the message that carries a soft prompt's rows on vLLM's chat route."""

__all__ = [
    "CACHE_BYTES",
    "COMPLETIONS_ROUTE",
    "CONNECTOR",
    "CONNECTOR_MODULE",
    "PLUGIN",
    "ROUTE",
    "SALT_FILE",
    "SOFT_PROMPT_ROLE",
    "SOURCES",
]
