"""Which format a chat template is of."""

from __future__ import annotations

from typing import Any

from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.tool_calls.formats import KNOWN_FORMATS, ToolFormat

_USUAL = "hermes"


def find_format(chosen: str | ToolFormat | None, template: Any) -> ToolFormat:
    """The format that was chosen, else the chat template's.

    Raises:
        InvalidSettingsError: No format has that name.
    """
    if isinstance(chosen, ToolFormat):
        return chosen
    if chosen is None:
        return format_of_template(template)
    if chosen not in KNOWN_FORMATS:
        msg = f"tool_format: expected one of {', '.join(sorted(KNOWN_FORMATS))}, or a ToolFormat, found {chosen!r}."
        raise InvalidSettingsError(msg)
    return KNOWN_FORMATS[chosen]


def format_of_template(template: Any) -> ToolFormat:
    """The first known format with a sign in the chat template; Hermes, which most models have met, where none has.

    Args:
        template: The template's text, or several by name, as tokenizers hold them.
    """
    text = "\n".join(map(str, template.values())) if isinstance(template, dict) else str(template or "")
    return next((known for known in KNOWN_FORMATS.values() if any(sign in text for sign in known.signs)), KNOWN_FORMATS[_USUAL])


__all__ = ["find_format", "format_of_template"]
