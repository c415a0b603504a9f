"""SoftPrompt: one validated soft prompt, read from and written to a folder in PEFT's format."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from langchain_softprompt import hub
from langchain_softprompt.errors import InvalidSoftPromptError, NonFiniteSoftPromptError
from langchain_softprompt.hub.local import CONFIG_FILE, MANIFEST_FILE, TENSOR_FILE
from langchain_softprompt.printable import printable, shown
from langchain_softprompt.refs import SoftPromptRef
from langchain_softprompt.soft_prompt.folder import SoftPromptFolder
from langchain_softprompt.soft_prompt.manifest import Manifest
from langchain_softprompt.soft_prompt.peft_format import (
    EMBEDDINGS,
    TASK_COLUMNS,
    TASK_ROWS,
    AdapterConfig,
    MultitaskPromptTuning,
    PrefixTuning,
    read_config,
)
from langchain_softprompt.soft_prompt.template_text import plain_fields

_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(frozen=True, eq=False)
class SoftPrompt:
    """One validated soft prompt.

    Load one with `SoftPrompt.load`. The tensors are on the CPU, as stored.

    Attributes:
        config: The checked content of ``adapter_config.json``.
        tensors: ``prompt_embeddings`` and, for a multitask prompt, the factors of its tasks.
        task: Which task of a multitask prompt this is; ``None`` for every other type.
        manifest: What our own file says; ``None`` for a plain PEFT folder.
        source: What the user named.
        revision: Commit on the Hub; ``None`` for a local folder.
        folder: The folder of the user's that it was read from, of a training run that of its best; ``None`` for anything else.
    """

    config: AdapterConfig
    tensors: dict[str, Tensor] = field(repr=False)
    task: int | None = None
    manifest: Manifest | None = field(default=None, repr=False)
    source: str = "in-memory"
    revision: str | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        _check_tensors(self.config, self.tensors)

    @classmethod
    def load(cls, source: str | Path | SoftPromptRef, *, task: int | str | None = None) -> Self:
        """Read a soft prompt without building a PEFT model.

        Args:
            source: A folder, or a Hub reference (``org/name@revision#subfolder``).
            task: Which task of a multitask prompt: its number, or its name in the manifest.

        Raises:
            SoftPromptNotFoundError: Nothing of that name is here or to be had.
            InvalidSoftPromptError: The folder is malformed; the error names file, field, expected and found.
        """
        ref = source if isinstance(source, SoftPromptRef) else SoftPromptRef.parse(source)
        path, commit = hub.fetch_soft_prompt(ref)
        return cls.read(path, task=task, source=str(source), revision=commit)

    @classmethod
    def read(cls, path: Path, *, task: int | str | None = None, source: str = "", revision: str | None = None) -> Self:
        """Read a soft prompt's folder as it lies there: no rules of the Hub's and no lock file are asked.

        Args:
            path: The folder; of a training run, that of its best.
            task: Which task of a multitask prompt.
            source: What the user named; by default the folder.
            revision: Commit on the Hub that the folder holds.

        Raises:
            SoftPromptNotFoundError: There is no such folder.
            InvalidSoftPromptError: The folder is malformed; the error names file, field, expected and found.
        """
        folder = SoftPromptFolder(path)
        config = read_config(folder.read_json(CONFIG_FILE))
        manifest = Manifest.from_json(folder.read_json(MANIFEST_FILE)) if folder.has(MANIFEST_FILE) else None
        tensors = folder.read_tensors(manifest.tensors_sha256 if manifest else None)
        number = _task_number(config, manifest, task)
        own = path if revision is None else None
        return cls(config, tensors, task=number, manifest=manifest, source=source or str(path), revision=revision, folder=own)

    @classmethod
    def of_key_values(cls, key_values: Tensor, *, base_model: str | None = None) -> Self:
        """A soft prompt of PEFT type ``PREFIX_TUNING``.

        Args:
            key_values: Keys and values, ``[virtual_tokens, num_layers, 2, kv_heads, head_dim]``; stored as they are.
            base_model: Name of the frozen model, for PEFT.

        Raises:
            InvalidSoftPromptError: The numbers are not finite, or of a dtype that is not stored.
        """
        virtual, layers, _, heads, dim = key_values.shape
        config = PrefixTuning(
            peft_type="PREFIX_TUNING",
            task_type="CAUSAL_LM",
            base_model_name_or_path=base_model,
            num_virtual_tokens=virtual,
            num_layers=layers,
            num_attention_heads=heads,
            token_dim=heads * dim,
        )
        return cls(config, {EMBEDDINGS: key_values.detach().cpu().reshape(virtual, -1).clone()})

    def save(self, folder: str | Path) -> Path:
        """Write the soft prompt as a folder that PEFT and this package load.

        An older soft prompt there is replaced, its manifest too. Links there are replaced, not written through: a Hub
        cache's snapshots consist of them.

        Returns:
            The folder.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        content = save_safetensors({name: tensor.contiguous() for name, tensor in self.tensors.items()}, metadata={"format": "pt"})
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=path) as staging:
            new = Path(staging)
            (new / TENSOR_FILE).write_bytes(content)
            self.config.for_peft().save_pretrained(staging)
            if self.manifest is not None:
                manifest = self.manifest.model_copy(update={"tensors_sha256": hashlib.sha256(content).hexdigest()})
                text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
                (new / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
            for file in sorted(new.iterdir()):
                file.replace(path / file.name)
        if self.manifest is None:
            (path / MANIFEST_FILE).unlink(missing_ok=True)
        return path

    @property
    def kind(self) -> str:
        """PEFT's name of the type, for instance ``"PREFIX_TUNING"``."""
        return self.config.peft_type

    @property
    def num_virtual_tokens(self) -> int:
        """Length in positions of the model's context."""
        return self.config.num_virtual_tokens

    @property
    def num_bytes(self) -> int:
        """Memory of its tensors, as stored."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    @cached_property
    def content_hash(self) -> str:
        """What identifies the soft prompt's effect: SHA-256 over type, task and tensors, 64 hexadecimal characters."""
        config = self.config
        layout = (config.num_layers, config.num_attention_heads, config.token_dim) if config.holds_key_values else ()
        digest = hashlib.sha256(f"{self.kind} {self.task} {layout}".encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @property
    def drop_default_system(self) -> bool:
        """Whether chats are rendered without the system message that the template adds by itself."""
        return self.manifest is not None and self.manifest.drop_default_system

    def prompt_messages(self, name: str | Path | SoftPrompt | None = None) -> list[tuple[str, Any]]:
        """The prompt template that the manifest recommends, with the soft prompt in it.

        In the form that LangChain's ``ChatPromptTemplate`` takes: ``ChatPromptTemplate(soft_prompt.prompt_messages())``.

        Args:
            name: What the template calls the soft prompt; by default it holds this object.

        Raises:
            InvalidSoftPromptError: The manifest recommends no messages, or one of them is no template of plain fields.
        """
        recommended = self.manifest.input_messages if self.manifest is not None else []
        if not recommended:
            hint = "Write the template yourself, and put {'type': 'soft_prompt', 'soft_prompt': ...} into its first message."
            raise InvalidSoftPromptError(
                file=MANIFEST_FILE, field="input_messages", expected="at least one message", found="none", hint=hint
            )
        for place, message in enumerate(recommended):
            try:
                plain_fields(message.template)
            except ValueError as error:
                field, found = f"input_messages.{place}.template", shown(message.template)
                raise InvalidSoftPromptError(
                    file=MANIFEST_FILE, field=field, expected="an f-string template of plain {fields}", found=found
                ) from error
        carrier = ("system", [{"type": "soft_prompt", "soft_prompt": self if name is None else name}])
        return [carrier, *((message.role, message.template) for message in recommended)]

    def embedding_rows(self) -> Tensor | None:
        """The rows put before the text's embeddings, float32 ``[num_virtual_tokens, hidden_size]``; else ``None``.

        For a multitask prompt the shared rows times its task's matrix, as PEFT's ``MultitaskPromptEmbedding`` does.
        """
        if self.config.holds_key_values:
            return None
        rows = self.tensors[EMBEDDINGS].float()
        if self.task is not None:
            rows = rows * (self.tensors[TASK_COLUMNS][self.task].float() @ self.tensors[TASK_ROWS][self.task].float())
        return rows

    def key_values(self) -> Tensor | None:
        """Keys and values, float32 ``[num_virtual_tokens, num_layers, 2, kv_heads, head_dim]``; else ``None``."""
        config = self.config
        layers, heads, width = config.num_layers, config.num_attention_heads, config.token_dim
        if not config.holds_key_values or layers is None or heads is None or width is None:
            return None
        return self.tensors[EMBEDDINGS].float().reshape(config.num_virtual_tokens, layers, 2, heads, width // heads)

    def with_source(self, source: str, revision: str | None = None) -> SoftPrompt:
        """The same soft prompt under another name."""
        return replace(self, source=source, revision=revision)


def _task_number(config: AdapterConfig, manifest: Manifest | None, task: int | str | None) -> int | None:
    if not isinstance(config, MultitaskPromptTuning):
        if task is not None:
            raise InvalidSoftPromptError(file=CONFIG_FILE, field="task", expected=f"none for {config.peft_type}", found=shown(task))
        return None
    names = manifest.tasks if manifest else []
    number = names.index(task) if isinstance(task, str) and task in names else task
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < config.num_tasks:
        expected = f"a task number from 0 to {config.num_tasks - 1}" + (f" or a name among {printable(', '.join(names))}" if names else "")
        hint = "Name the task: SoftPrompt.load(folder, task=0)."
        raise InvalidSoftPromptError(file=CONFIG_FILE, field="task", expected=expected, found=shown(task), hint=hint)
    return number


def _check_tensors(config: AdapterConfig, tensors: dict[str, Tensor]) -> None:
    shapes = config.tensor_shapes()
    if set(tensors) != set(shapes):
        found = printable(", ".join(sorted(tensors)) or "none")
        raise InvalidSoftPromptError(file=TENSOR_FILE, field="tensors", expected=", ".join(sorted(shapes)), found=found)
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.dtype not in _DTYPES:
            raise InvalidSoftPromptError(
                file=TENSOR_FILE, field=name, expected=f"dtype {', '.join(_DTYPES.values())}", found=str(tensor.dtype)
            )
        if tensor.dim() != len(shape) or any(want not in (None, have) for want, have in zip(shape, tensor.shape, strict=True)):
            expected = "shape " + " x ".join("any" if size is None else str(size) for size in shape)
            found = printable("shape " + (" x ".join(map(str, tensor.shape)) or "of one number"))
            raise InvalidSoftPromptError(file=TENSOR_FILE, field=name, expected=expected, found=found)
        if not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise NonFiniteSoftPromptError(file=TENSOR_FILE, field=name, expected="finite numbers", found=f"{bad} NaN or Inf")
    if isinstance(config, MultitaskPromptTuning) and tensors[EMBEDDINGS].shape[1] != tensors[TASK_ROWS].shape[2]:
        expected = f"a last size of {tensors[EMBEDDINGS].shape[1]}, as {EMBEDDINGS} has"
        raise InvalidSoftPromptError(file=TENSOR_FILE, field=TASK_ROWS, expected=expected, found=str(tensors[TASK_ROWS].shape[2]))
