"""The model's chat template, with a branch for soft prompts."""

from __future__ import annotations

from langchain_softprompt.vllm_plugin.names import SOFT_PROMPT_ROLE

# Where the soft prompt's role comes first, the client has rendered the chat already, and the rest is one text that is printed as
# it is.
_BRANCH = """\
{%%- if messages and messages[0].role == '%s' -%%}
{%%- for message in messages -%%}
{%%- if message.content is string -%%}
{{ message.content }}
{%%- else -%%}
{%%- for part in message.content -%%}{{ part.text }}{%%- endfor -%%}
{%%- endif -%%}
{%%- endfor -%%}
{%%- else -%%}
"""
_PLAIN = "{%- for message in messages -%}{{ message.content }}{%- endfor -%}"


def with_soft_prompt_branch(own: str | None) -> str:
    """A chat template that prints a chat with a soft prompt as it comes, and renders every other as before.

    Args:
        own: The model's chat template; ``None`` for a base model, which then prints other chats as they come, too.
    """
    return _BRANCH % SOFT_PROMPT_ROLE + (own if own is not None else _PLAIN) + "{%- endif -%}"


__all__ = ["with_soft_prompt_branch"]
