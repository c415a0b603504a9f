"""Chat messages become token ids, by the model's own chat template."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_softprompt.errors import ChatTemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]
_ANY_SYSTEM: Message = {"role": "system", "content": "x"}
# A tokenizer that is told to read special tokens as text says so to all its threads at once (transformers sets a flag on
# the shared Rust tokenizer), so two threads that encode at once could each get what the other wanted.
_encoding = threading.Lock()


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    drop_default_system: bool = False,
    add_generation_prompt: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None,
    continue_final_message: bool = False,
) -> list[int]:
    """Render chat messages to token ids.

    Control tokens inside the messages' text are encoded as plain text, so text can't forge a turn.

    Args:
        tokenizer: The frozen model's tokenizer, with a chat template.
        messages: ``{"role": ..., "content": ...}`` mappings, oldest first.
        drop_default_system: Leave out what the template writes before the first message, when none of the messages is a
            system message: its own default system message and the begin-of-sequence mark. A soft prompt that grew
            out of a rendered system message stands in their place. With `tools` only the mark is left out, because
            templates put tools and the default system message in one turn.
        add_generation_prompt: Open the assistant's turn at the end.
        tools: JSON schemas of the tools offered, for templates that know tools.
        continue_final_message: Leave the last message open, to be continued.

    Raises:
        ChatTemplateError: There is no chat template, or it refuses these messages.
    """
    if not messages:
        msg = "There are no messages to render. Send at least one."
        raise ChatTemplateError(msg)
    if not getattr(tokenizer, "chat_template", None):
        msg = (
            "This model has no chat template, so chat messages can't be rendered. "
            "Use an instruction-tuned model, or give it one: ChatSoftPrompt(chat_template=...)."
        )
        raise ChatTemplateError(msg)

    def ids(
        chat: Sequence[Message], *, add_generation_prompt: bool = add_generation_prompt, open_end: bool = continue_final_message
    ) -> list[int]:
        return _apply(tokenizer, chat, tools=tools, add_generation_prompt=add_generation_prompt, continue_final_message=open_end)

    rendered = ids(messages)
    if not drop_default_system or any(message.get("role") == "system" for message in messages):
        return rendered
    # A token that comes again opens turns; a begin-of-sequence mark stands once.
    marked = rendered[:1] == [tokenizer.bos_token_id] and rendered.count(rendered[0]) == 1
    unmarked = rendered[1:] if marked else rendered
    if tools:
        return unmarked
    try:
        head = ids([_ANY_SYSTEM], add_generation_prompt=False, open_end=False)
        with_system = ids([_ANY_SYSTEM, *messages])
    except ChatTemplateError:
        return unmarked
    rest = with_system[len(head) :]
    # Only where the messages come after the system message just as they come after the default one.
    if rest and with_system[: len(head)] == head and rendered[-len(rest) :] == rest:
        return rest
    return unmarked


def with_chat_template(tokenizer: PreTrainedTokenizerBase, chat_template: str | None) -> PreTrainedTokenizerBase:
    """The same tokenizer with another chat template; itself for ``None``."""
    if chat_template is None or tokenizer.chat_template == chat_template:
        return tokenizer
    other = copy.copy(tokenizer)
    other.chat_template = chat_template
    return other


def encode_text(
    tokenizer: PreTrainedTokenizerBase, text: str, *, special_tokens: bool = False, split_special_tokens: bool = False
) -> list[int]:
    """The tokens of a text as it stands, without a chat template.

    Args:
        tokenizer: The frozen model's tokenizer.
        text: The text.
        special_tokens: Add those that the tokenizer puts around any text.
        split_special_tokens: Read the names of control tokens in it as plain text.
    """
    with _encoding:
        how = {"split_special_tokens": True} if split_special_tokens else {}
        return [int(token) for token in tokenizer.encode(text, add_special_tokens=special_tokens, **how)]


def _apply(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, Any]] | None,
    add_generation_prompt: bool,
    continue_final_message: bool,
) -> list[int]:
    try:
        with _encoding:
            encoded: Any = tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=[dict(tool) for tool in tools] if tools else None,
                add_generation_prompt=add_generation_prompt and not continue_final_message,
                continue_final_message=continue_final_message,
                tokenize=True,
                return_dict=True,
                sanitize_control_tokens=True,
            )
    except Exception as error:  # Jinja raises what the template's author chose to raise.
        msg = f"The model's chat template refused these messages: {error}"
        raise ChatTemplateError(msg) from error
    return [int(token) for token in encoded["input_ids"]]
