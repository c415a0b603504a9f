"""ServerPlan: what is to be served, and what follows for the server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langchain_softprompt.errors import InvalidSettingsError, ModelMismatchError
from langchain_softprompt.frozen_model import model_sizes
from langchain_softprompt.frozen_model.outline import ModelOutline
from langchain_softprompt.hub.searching import ModelSizes
from langchain_softprompt.printable import printable
from langchain_softprompt.soft_prompt import SoftPrompt

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class ServedSoftPrompt:
    """A soft prompt and the folder it has on the server.

    Attributes:
        name: Its folder's name there.
        soft_prompt: What it is.
    """

    name: str
    soft_prompt: SoftPrompt

    @property
    def holds_key_values(self) -> bool:
        """Whether the connector puts it into the cache; else the client sends its rows."""
        return self.soft_prompt.config.holds_key_values


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """What is to be served.

    Attributes:
        model: What the server loads: a folder there, or a Hub id.
        revision: Commit of a Hub id.
        served_name: What clients call it.
        soft_prompts: The soft prompts.
        folder: Where the server finds soft prompts and chat template.
        chat_template: The model's own; ``None`` for a base model.
        max_model_len: Positions of the context, soft prompts counted in; ``None`` for the model's own.
        dtype: What it computes in.
        host: Address to listen on.
        port: Port to listen on.
        gpus: GPUs that one copy of the model is cut over (tensor parallel).
        copies: Copies of the model behind one address (data parallel).
        nodes: Machines that these copies are spread over.
        cpu_cache_gib: Memory for keys and values of a server that computes on the CPU, in GiB; ``None`` for one with GPUs.
    """

    model: str
    revision: str | None
    served_name: str
    soft_prompts: tuple[ServedSoftPrompt, ...]
    folder: Path
    chat_template: str | None
    max_model_len: int | None = None
    dtype: str = "auto"
    host: str = "127.0.0.1"
    port: int = 8000
    gpus: int = 1
    copies: int = 1
    nodes: int = 1
    cpu_cache_gib: int | None = None

    def __post_init__(self) -> None:
        for name in ("port", "gpus", "copies", "nodes", "cpu_cache_gib"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                msg = f"{name}: expected at least 1, found {getattr(self, name)}."
                raise InvalidSettingsError(msg)
        if self.copies % self.nodes:
            msg = f"copies: {self.copies} can't be spread evenly over {self.nodes} nodes. Give a multiple."
            raise InvalidSettingsError(msg)
        if self.dtype not in DTYPES:
            msg = f"dtype: expected one of {', '.join(DTYPES)}, found {self.dtype!r}."
            raise InvalidSettingsError(msg)
        longest = max((served.soft_prompt.num_virtual_tokens for served in self.soft_prompts), default=0)
        if self.max_model_len is not None and self.max_model_len <= longest:
            msg = f"max_model_len: {self.max_model_len} positions leave no room for text after {longest} virtual tokens. Raise it."
            raise InvalidSettingsError(msg)

    @property
    def copies_a_node(self) -> int:
        """How many of the copies one machine has."""
        return self.copies // self.nodes

    @property
    def sends_rows(self) -> bool:
        """Whether some soft prompt travels as embeddings."""
        return any(not served.holds_key_values for served in self.soft_prompts)

    @property
    def writes_key_values(self) -> bool:
        """Whether some soft prompt needs the connector."""
        return any(served.holds_key_values for served in self.soft_prompts)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The frozen model as a server finds it.

    Attributes:
        place: A folder on this machine, or a Hub id.
        revision: Commit of a Hub id.
        name: What it is called.
        sizes: What soft prompts have to fit.
        chat_template: Its own; ``None`` for a base model.
    """

    place: str
    revision: str | None
    name: str
    sizes: ModelSizes
    chat_template: str | None


def served_model(source: str, revision: str | None = None) -> ServedModel:
    """Look at a model without its weights.

    Args:
        source: As for `FrozenModel.load`. A GGUF file is converted, as vLLM reads safetensors best.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        ModelUnavailableError: Nothing of that name is here or to be had.
        FrozenModelError: Its configuration or its tokenizer can't be read.
    """
    outline = ModelOutline.load(source, revision=revision)
    name, sizes = model_sizes(source, revision=revision)
    place = name if outline.revision is not None else str(outline.folder)
    template: object = outline.tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return ServedModel(place, outline.revision, name, sizes, template if isinstance(template, str) else None)


def named(soft_prompts: Sequence[SoftPrompt]) -> tuple[ServedSoftPrompt, ...]:
    """Soft prompts with a folder's name each, made from where they come from; the same one is taken once."""
    found: dict[str, ServedSoftPrompt] = {}
    taken: set[str] = set()
    for soft_prompt in soft_prompts:
        if soft_prompt.content_hash in found:
            continue
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", soft_prompt.source.rstrip("/").rsplit("/", 1)[-1]).strip("-.") or "soft-prompt"
        if name in taken:
            name = f"{name}-{soft_prompt.content_hash[:8]}"
        taken.add(name)
        found[soft_prompt.content_hash] = ServedSoftPrompt(name, soft_prompt)
    return tuple(found.values())


def check_shapes(name: str, sizes: ModelSizes, soft_prompts: Sequence[SoftPrompt]) -> None:
    """Refuse soft prompts that do not fit the model, from its configuration alone.

    Raises:
        ModelMismatchError: One does not fit.
    """
    for soft_prompt in soft_prompts:
        problem = sizes.misfit(soft_prompt.config.model_dump())
        if problem:
            msg = f"The soft prompt {printable(soft_prompt.source)} does not fit {name}: {problem}."
            raise ModelMismatchError(msg, expected=name, found=problem)


__all__ = ["DTYPES", "ServedModel", "ServedSoftPrompt", "ServerPlan", "check_shapes", "named", "served_model"]
