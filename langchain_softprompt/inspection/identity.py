"""Identity: what a soft prompt is, for which model, its size and how long it takes to compile."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.prefix import KVPrefix, compile_prefix
from langchain_softprompt.printable import printable
from langchain_softprompt.soft_prompt import SoftPrompt

_ROUNDS = 5
_LONGEST_SECONDS = 5.0
_FACTS = ("target", "best_step", "steps_done", "learning_rate", "init", "start")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a soft prompt is.

    Attributes:
        source: What the user named.
        revision: Its commit on the Hub; ``None`` for a local folder.
        kind: PEFT's name of its type, for instance ``"PREFIX_TUNING"``.
        holds: ``"keys and values"`` or ``"rows of embeddings"``.
        task: The task of a multitask prompt; ``None`` for every other.
        virtual_tokens: Its length in positions of the model's context.
        parameters: Numbers in it.
        stored_bytes: Bytes of its tensors as they are stored.
        dtype: Type they are stored in.
        compiled_bytes: Bytes of the prefix it compiles to, in the model's memory.
        compile_seconds: Median of several compilations.
        content_hash: SHA-256 of what determines its effect.
        model: The frozen model it was inspected on.
        model_dtype: Type of that model's weights.
        made_for: The frozen model it was made for; ``None`` where nobody says.
        same_model: Whether the two are the same by fingerprint; ``None`` where no fingerprint was recorded.
        method: How it was made; ``None`` where nobody says.
        description: What it does, in its maker's words.
        created: Date, ISO 8601.
        data: Where its training data came from, and their licence.
        training_rows: Rows it was trained on; ``None`` where nobody says.
        hard_prompt: The messages it was made with, as ``role: template``.
        training: A few facts of its training.
        scores: Scores recorded in the manifest.
        probes: Probes recorded in the manifest.
    """

    source: str
    revision: str | None
    kind: str
    holds: str
    task: int | None
    virtual_tokens: int
    parameters: int
    stored_bytes: int
    dtype: str
    compiled_bytes: int
    compile_seconds: float
    content_hash: str
    model: str
    model_dtype: str
    made_for: str | None
    same_model: bool | None
    method: str | None
    description: str
    created: str
    data: str
    training_rows: int | None
    hard_prompt: tuple[str, ...]
    training: dict[str, bool | int | float | str | None]
    scores: dict[str, float]
    probes: int

    @property
    def reading(self) -> str:
        """The same in one plain sentence."""
        model = {True: "It was made for this very model.", False: f"It was made for another model, {printable(self.made_for)}."}
        known = model[self.same_model] if self.same_model is not None else "It does not say for which model it was made."
        article = "rows of embeddings" if self.holds == "rows of embeddings" else "keys and values of every layer"
        return f"{self.virtual_tokens} virtual tokens, kept as {article}, {_size(self.stored_bytes)}. {known}"


def identify(model: FrozenModel, soft_prompt: SoftPrompt, *, allow_other_model: bool = False) -> tuple[Identity, KVPrefix]:
    """Compile a soft prompt a few times and write down what it is.

    Args:
        model: The frozen model.
        soft_prompt: The soft prompt.
        allow_other_model: Take one that was made for another model.

    Returns:
        What it is, and the compiled prefix.

    Raises:
        ModelMismatchError: It was made for another model, or does not fit this one.
        NonFiniteSoftPromptError: Its numbers overflow in the model.
    """
    prefix, seconds = _compile(model, soft_prompt, allow_other_model=allow_other_model)
    tensors = list(soft_prompt.tensors.values())
    manifest = soft_prompt.manifest
    facts: dict[str, object] = {}
    if manifest is not None:
        data = manifest.data
        facts = {
            "made_for": manifest.base_model.id,
            "same_model": manifest.base_model.fingerprint == model.fingerprint,
            "method": manifest.method,
            "description": manifest.description,
            "created": manifest.created,
            "data": f"{data.source} ({data.licence or 'no licence named'})" if data is not None and data.source else "",
            "training_rows": data.rows if data is not None else None,
            "hard_prompt": tuple(f"{message.role}: {message.template}" for message in manifest.hard_prompt),
            "training": {name: manifest.training[name] for name in _FACTS if name in manifest.training},
            "scores": dict(manifest.scores),
            "probes": len(manifest.probes.probes) if manifest.probes is not None else 0,
        }
    else:
        facts = {"made_for": soft_prompt.config.base_model_name_or_path, "same_model": None, "method": None, "training_rows": None}
        facts |= {"description": "", "created": "", "data": "", "hard_prompt": (), "training": {}, "scores": {}, "probes": 0}
    identity = Identity(
        source=str(soft_prompt.source),
        revision=soft_prompt.revision,
        kind=soft_prompt.kind,
        holds="keys and values" if soft_prompt.config.holds_key_values else "rows of embeddings",
        task=soft_prompt.task,
        virtual_tokens=soft_prompt.num_virtual_tokens,
        parameters=sum(tensor.numel() for tensor in tensors),
        stored_bytes=soft_prompt.num_bytes,
        dtype=", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors})),
        compiled_bytes=prefix.num_bytes,
        compile_seconds=seconds,
        content_hash=soft_prompt.content_hash,
        model=model.name,
        model_dtype=model.quantization or str(model.dtype).removeprefix("torch."),
        **facts,  # type: ignore[arg-type]
    )
    return identity, prefix


def _compile(model: FrozenModel, soft_prompt: SoftPrompt, *, allow_other_model: bool) -> tuple[KVPrefix, float]:
    taken: list[float] = []
    while True:
        began = time.perf_counter()
        prefix = compile_prefix(model, soft_prompt, allow_other_model=allow_other_model)
        taken.append(time.perf_counter() - began)
        if len(taken) >= _ROUNDS or sum(taken) > _LONGEST_SECONDS:
            return prefix, statistics.median(taken)


def _size(count: int) -> str:
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.2f} MiB"


__all__ = ["Identity", "identify"]
