"""The base model as the Hub knows it: a card must name it so that a stranger finds it, and must not tell of anybody's folders."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_softprompt.errors import InvalidReferenceError, InvalidSettingsError
from langchain_softprompt.frozen_model.sources import (
    EMBEDDED,
    EMBEDDED_GGUF_COMMIT,
    EMBEDDED_GGUF_FILE,
    EMBEDDED_GGUF_REPO,
    EMBEDDED_MODEL,
    EMBEDDED_ON_HUB,
)
from langchain_softprompt.printable import shown
from langchain_softprompt.refs import SoftPromptRef
from langchain_softprompt.soft_prompt import SoftPrompt

_ANSWER = "Say which model on the Hub that is: base_model='org/name', or 'org/name@commit'."


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The base model.

    Attributes:
        hub_id: Its name on the Hub.
        revision: Its commit there; ``None`` where it was not recorded.
        fingerprint: What identifies the weights the soft prompt was made on.
        model: What `ChatSoftPrompt` loads it by.
        weights: Repository that those very weights lie in.
        weights_revision: Commit of it.
        gguf_file: Name of the GGUF file in it; empty for safetensors.
    """

    hub_id: str
    revision: str | None
    fingerprint: str | None
    model: str
    weights: str
    weights_revision: str | None
    gguf_file: str = ""

    @property
    def is_embedded(self) -> bool:
        """Whether it is the model that comes as a Python package."""
        return self.model == EMBEDDED


def find_base_model(soft_prompt: SoftPrompt, named: str | None = None) -> BaseModel:
    """Find out what to call a soft prompt's base model.

    Args:
        soft_prompt: The soft prompt.
        named: ``org/name`` or ``org/name@revision`` on the Hub, where its records name a folder, or nothing.

    Raises:
        InvalidSettingsError: Nobody says what it is on the Hub.
    """
    manifest = soft_prompt.manifest
    recorded = manifest.base_model.id if manifest else soft_prompt.config.base_model_name_or_path
    revision = manifest.base_model.revision if manifest else soft_prompt.config.revision
    fingerprint = manifest.base_model.fingerprint if manifest else None
    embedded = recorded in {EMBEDDED, EMBEDDED_MODEL}
    if named is not None:
        ref = _on_hub(named)
        if ref is None:
            msg = f"base_model: expected a model on the Hub, 'org/name' or 'org/name@revision', found {shown(named)}."
            raise InvalidSettingsError(msg)
        # The commit on record is that of the name on record.
        same = revision if ref.repo_id == recorded else None
        hub_id, revision = str(ref.repo_id), ref.revision or same
    elif embedded:
        hub_id, revision = EMBEDDED_ON_HUB, None
    else:
        hub_id, revision = _recorded(recorded, revision)
    if embedded:
        return BaseModel(hub_id, revision, fingerprint, EMBEDDED, EMBEDDED_GGUF_REPO, EMBEDDED_GGUF_COMMIT, EMBEDDED_GGUF_FILE)
    return BaseModel(hub_id, revision, fingerprint, hub_id, hub_id, revision)


def _recorded(name: str | None, revision: str | None) -> tuple[str, str]:
    if not name:
        msg = f"base_model: the soft prompt does not say which model it was made for. {_ANSWER}"
        raise InvalidSettingsError(msg)
    # A folder such as models/mine reads like a name on the Hub, where somebody else may have taken it. A model that came from the
    # Hub was recorded with its commit.
    ref = _on_hub(f"{name}@{revision}") if revision else None
    if ref is None:
        what = "with no commit, as a folder on this machine would be" if _on_hub(name) else "which is no name on the Hub"
        msg = f"base_model: the soft prompt says it was made for {shown(name)}, {what}. {_ANSWER}"
        raise InvalidSettingsError(msg)
    return str(ref.repo_id), str(ref.revision)


def _on_hub(text: str) -> SoftPromptRef | None:
    try:
        ref = SoftPromptRef.parse(text)
    except InvalidReferenceError:
        return None
    return ref if ref.repo_id is not None and ref.subfolder is None else None


__all__ = ["BaseModel", "find_base_model"]
