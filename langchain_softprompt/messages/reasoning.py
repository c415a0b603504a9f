"""ReasoningReader: what a model thinks before it answers, told from the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_softprompt.overlap import overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

OPENING, CLOSING = "<think>", "</think>"
_LAST_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of reasoning."""

    text: str


class ReasoningReader:
    """Splits an answer into reasoning, at its head between ``<think>`` marks, and text; the same however it is cut up.

    White space beside the marks is left out. Reasoning that has no end, as the token limit cut it, is reasoning still.

    Args:
        begun: Whether the prompt opened it already, as some chat templates do.
    """

    def __init__(self, *, begun: bool = False) -> None:
        self._state: Literal["start", "inside", "behind", "text"] = "inside" if begun else "start"
        self._pending = ""
        self._thought = False

    def push(self, text: str) -> list[str | Thought]:
        """Take more of the answer and return what is now certain."""
        self._pending += text
        return [piece for piece in self._take(last=False) if not isinstance(piece, str) or piece]

    def finish(self) -> list[str | Thought]:
        """Return the rest; the answer has ended."""
        return [piece for piece in self._take(last=True) if not isinstance(piece, str) or piece]

    def _take(self, *, last: bool) -> list[str | Thought]:
        pieces: list[str | Thought] = []
        if self._state == "start":
            self._begin(last=last)
        if self._state == "inside":
            pieces += self._think(last=last)
        if self._state == "behind" and (rest := self._pending.lstrip()):
            self._state, self._pending = "text", rest
        if self._state == "text":
            pieces.append(self._pending)
            self._pending = ""
        return pieces

    def _begin(self, *, last: bool) -> None:
        head = self._pending.lstrip()
        if head.startswith(OPENING):
            self._state, self._pending = "inside", head[len(OPENING) :]
        elif last or not OPENING.startswith(head):
            self._state = "text"

    def _think(self, *, last: bool) -> list[str | Thought]:
        at = self._pending.find(CLOSING)
        if at >= 0:
            said, self._pending = self._pending[:at].rstrip(), self._pending[at + len(CLOSING) :]
            self._state = "behind"
        else:
            held = 0 if last else overlap(self._pending, CLOSING)
            said = self._pending[: len(self._pending) - held].rstrip()
            self._pending = "" if last else self._pending[len(said) :]
        if not self._thought:
            said = said.lstrip()
        self._thought = self._thought or bool(said)
        return [Thought(said)] if said else []


def reasoning_begun(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], wanted: bool | None) -> bool | None:  # noqa: FBT001
    """Whether a prompt has opened the reasoning of its answer; ``None`` where reasoning is text like any other.

    Args:
        tokenizer: The frozen model's.
        token_ids: The prompt.
        wanted: Whether to tell reasoning from text; ``None`` goes by the chat template.
    """
    template: Any = getattr(tokenizer, "chat_template", None)
    if wanted is False or (wanted is None and OPENING not in str(template)):
        return None
    return str(tokenizer.decode(list(token_ids[-_LAST_TOKENS:]))).rstrip().endswith(OPENING)


__all__ = ["CLOSING", "OPENING", "ReasoningReader", "Thought", "reasoning_begun"]
