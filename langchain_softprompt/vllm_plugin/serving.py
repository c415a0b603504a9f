"""Serving: what a server serves, and whether a request may wear it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import torch

from langchain_softprompt import __version__
from langchain_softprompt.frozen_model.sources import find_model
from langchain_softprompt.frozen_model.stored_fingerprint import stored_fingerprint
from langchain_softprompt.soft_prompt import SoftPrompt
from langchain_softprompt.vllm_plugin.names import CONNECTOR, SOURCES
from langchain_softprompt.vllm_plugin.refusal import RefusalError
from langchain_softprompt.vllm_plugin.salting import Salts
from langchain_softprompt.vllm_plugin.served import ServedSoftPrompts
from langchain_softprompt.vllm_plugin.sharding import ShapeMismatchError, cast_finite

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """What this server serves.

    Attributes:
        soft_prompts: Its soft prompts; none where the connector is not enabled.
        salts: Under which name its cache blocks are kept; ``None`` where the connector is not enabled.
        fingerprint: Of the frozen model's weights; ``None`` where the files do not tell it.
        dtype: What it computes in.
        facts: What clients are told of the model.
        finite: Content hashes of those whose numbers were found to fit the dtype.
    """

    soft_prompts: ServedSoftPrompts
    salts: Salts | None
    fingerprint: str | None
    dtype: torch.dtype
    facts: dict[str, Any]
    finite: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, vllm_config: Any, served_name: str) -> Serving:
        """Look at the server's own configuration; reads the model's weights once, 64 numbers of each."""
        model, transfer = vllm_config.model_config, vllm_config.kv_transfer_config
        connected = transfer is not None and transfer.kv_connector == CONNECTOR
        sources = transfer.get_from_extra_config(SOURCES, []) if connected else []
        fingerprint = _fingerprint(model.model, model.revision)
        facts = {
            "id": served_name,
            "root": model.model,
            "fingerprint": fingerprint,
            "dtype": str(model.dtype).removeprefix("torch."),
            "max_model_len": model.max_model_len,
            "hidden_size": model.get_hidden_size(),
        }
        return cls(ServedSoftPrompts(sources), Salts.of(transfer) if connected else None, fingerprint, model.dtype, facts)

    def told(self) -> dict[str, Any]:
        """What clients are told."""
        return {"plugin": __version__, "model": self.facts, "soft_prompts": [_told(soft_prompt) for soft_prompt in self.soft_prompts]}

    def worn(self, asked: Any) -> tuple[SoftPrompt, str]:
        """The soft prompt that a request names, checked, and the salt under which its cache blocks are kept.

        Raises:
            RefusalError: It can't be worn here.
        """
        if not isinstance(asked, dict) or not isinstance(asked.get("content_hash"), str):
            raise RefusalError(
                HTTPStatus.BAD_REQUEST, "BadRequestError", 'soft_prompt: expected {"content_hash": "...", "virtual_tokens": n}.'
            )
        name = asked["content_hash"]
        if self.salts is None:
            msg = "This server was started without the soft prompts' connector (--kv-transfer-config). "
            msg += "Start it with the line that `langchain-softprompt serve-command` prints."
            raise RefusalError(HTTPStatus.NOT_IMPLEMENTED, "ConnectorAbsent", msg)
        found = self.soft_prompts.find(name)
        if found is None:
            msg = f"No soft prompt with the content hash {name[:64]} is in this server's folders. Copy it there; no restart is needed."
            raise RefusalError(HTTPStatus.NOT_FOUND, "SoftPromptNotFound", msg)
        if asked.get("virtual_tokens") not in (None, found.num_virtual_tokens):
            msg = f"The soft prompt has {found.num_virtual_tokens} virtual tokens, not {asked['virtual_tokens']}."
            raise RefusalError(HTTPStatus.BAD_REQUEST, "BadRequestError", msg)
        self._check_model(found, asked)
        if not found.config.holds_key_values:
            msg = f"A soft prompt of type {found.kind} travels as embeddings: send its rows to /v1/chat/completions."
            raise RefusalError(HTTPStatus.BAD_REQUEST, "BadRequestError", msg)
        key_values = found.key_values() if name not in self.finite else None
        if key_values is not None:
            try:
                cast_finite(key_values, self.dtype)
            except ShapeMismatchError as error:
                raise RefusalError(HTTPStatus.BAD_REQUEST, "NonFiniteSoftPrompt", f"{error} Serve the model in another dtype.") from None
            self.finite.add(name)
        return found, self.salts.salt(name)

    def _check_model(self, found: SoftPrompt, asked: dict[str, Any]) -> None:
        wanted = asked.get("model_fingerprint")
        if self.fingerprint is not None and wanted not in (None, self.fingerprint):
            msg = f"The client's model has the fingerprint {wanted}, and this server's has {self.fingerprint}."
            raise RefusalError(HTTPStatus.CONFLICT, "ModelMismatch", msg)
        if asked.get("allow_other_model") is True or self.fingerprint is None:
            return
        own = found.manifest.base_model.fingerprint if found.manifest is not None else None
        for made_for in (own, asked.get("base_fingerprint")):  # as its files here say, and as the client's do
            if made_for not in (None, self.fingerprint):
                msg = f"The soft prompt was made for a model with fingerprint {made_for}, and this server's has {self.fingerprint}."
                raise RefusalError(HTTPStatus.CONFLICT, "ModelMismatch", msg)


def _told(soft_prompt: SoftPrompt) -> dict[str, Any]:
    return {
        "content_hash": soft_prompt.content_hash,
        "kind": soft_prompt.kind,
        "virtual_tokens": soft_prompt.num_virtual_tokens,
        "source": soft_prompt.source,
        "base_fingerprint": soft_prompt.manifest.base_model.fingerprint if soft_prompt.manifest is not None else None,
    }


def _fingerprint(model: str, revision: str | None) -> str | None:
    try:
        return stored_fingerprint(find_model(model, revision=revision).folder)
    except Exception as error:  # noqa: BLE001 - clients then know the model by its answers to recorded probes
        logger.warning("The model's fingerprint can't be read from its files: %s: %s", type(error).__name__, error)
        return None


__all__ = ["Serving"]
