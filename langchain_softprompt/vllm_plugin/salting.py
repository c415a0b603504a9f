"""Salts: under which name a soft prompt's cache blocks are kept apart from all others'."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from langchain_softprompt.vllm_plugin.names import SALT_FILE

_FEWEST_CHARACTERS = 16


class Salts:
    """Salts by content hash.

    vLLM knows cache blocks by token ids and salt, and the placeholders of all soft prompts are alike. Content hashes are no
    secret: whoever sent one as a salt could put blocks of plain text where others look for the soft prompt's. So a salt is made
    of the hash and of a secret that only the server's own processes know, those that take requests and the schedulers.

    Args:
        secret: What only they know.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret

    @classmethod
    def of(cls, transfer: Any) -> Salts:
        """Those of a server.

        Args:
            transfer: Its ``kv_transfer_config``. The file that it names is written by ``serve-command``. Without one it is the
                server's own random id, which several processes that take requests (``--api-server-count``) do not share.

        Raises:
            ValueError: The file is too short to keep a secret.
        """
        file = transfer.get_from_extra_config(SALT_FILE, None)
        if file is None:
            return cls(re.sub(r"_dp\d+$", "", str(transfer.engine_id)))  # each copy of the model adds its number
        secret = Path(file).expanduser().read_text("ascii").strip()
        if len(secret) < _FEWEST_CHARACTERS:
            msg = f"{file}: expected a secret of at least {_FEWEST_CHARACTERS} characters, found {len(secret)}."
            raise ValueError(msg)
        return cls(secret)

    def salt(self, content_hash: str) -> str:
        """The salt of a soft prompt, 64 hexadecimal characters."""
        return hashlib.sha256(f"{self._secret} {content_hash}".encode()).hexdigest()


__all__ = ["Salts"]
