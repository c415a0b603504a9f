"""A soft prompt's own prompt template: the messages it was trained with, and the soft prompt itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.prompts import ChatPromptTemplate

if TYPE_CHECKING:
    from langchain_softprompt.soft_prompt import SoftPrompt


def prompt_template(soft_prompt: str | Path | SoftPrompt) -> ChatPromptTemplate:
    """The prompt template that a soft prompt's manifest recommends, with the soft prompt in it.

    ``prompt_template("acme/clean-question@v2") | llm`` answers with that soft prompt, whichever the model itself wears.

    Args:
        soft_prompt: A name or a folder, which is what the template then names; or a loaded one, which the template then
            holds, and which can't be written to a file with it.

    Returns:
        A template of f-string messages. Its input variables are the fields of the manifest's messages.

    Raises:
        SoftPromptNotFoundError: Nothing of that name is here or to be had.
        InvalidSoftPromptError: The folder is malformed, its manifest recommends no messages, or one of them is no
            template of plain fields.
    """
    from langchain_softprompt.soft_prompt import SoftPrompt  # brings in torch

    loaded = soft_prompt if isinstance(soft_prompt, SoftPrompt) else SoftPrompt.load(soft_prompt)
    name = str(soft_prompt) if isinstance(soft_prompt, Path) else soft_prompt
    return ChatPromptTemplate(loaded.prompt_messages(name))
