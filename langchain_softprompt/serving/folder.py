"""What a server reads: soft prompts and chat template in one folder, to be copied to where the server runs."""

from __future__ import annotations

import secrets

from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.serving.chat_template import with_soft_prompt_branch
from langchain_softprompt.serving.command import CHAT_TEMPLATE, SALT, SOFT_PROMPTS
from langchain_softprompt.serving.plan import ServerPlan


def write_folder(plan: ServerPlan) -> list[str]:
    """Write the plan's folder; what is there of the same names is replaced, other soft prompts stay and go on being served.

    Soft prompts of embeddings are written too. The server has no use for them, as clients send their rows, but the folder then
    holds all that belongs together. A secret for cache salts is made once, and stays.

    Returns:
        What was written, relative to the folder.

    Raises:
        InvalidSettingsError: The folder can't be written.
    """
    written = [CHAT_TEMPLATE]
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        (plan.folder / CHAT_TEMPLATE).write_text(with_soft_prompt_branch(plan.chat_template), encoding="utf-8")
        salt = plan.folder / SALT
        if plan.writes_key_values and not salt.exists():
            salt.touch(mode=0o600)
            salt.write_text(secrets.token_urlsafe(32) + "\n", encoding="ascii")
        for served in plan.soft_prompts:
            served.soft_prompt.save(plan.folder / SOFT_PROMPTS / served.name)
            written.append(f"{SOFT_PROMPTS}/{served.name}")
    except OSError as error:
        msg = f"The folder {plan.folder} can't be written: {error}. Name another one."
        raise InvalidSettingsError(msg) from error
    return written


__all__ = ["write_folder"]
