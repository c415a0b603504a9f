"""TextStream: token ids become text as they come, whole characters only, cut off at the first stop string."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from langchain_softprompt.overlap import overlap

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "\ufffd"


class TextStream:
    """Turns one answer's tokens into text, piece by piece.

    A character whose bytes are spread over several tokens is held back until it is whole, and so is text that may yet
    become a stop string. All pieces joined are the same text whatever the sizes in which the tokens arrive.

    Attributes:
        stopped_by: The stop string that ended the text; ``None`` while there is none.

    Args:
        tokenizer: Decodes the tokens; special tokens make no text.
        stop: Strings that end the text. The text is cut before the first of them.
        visible: Special tokens that do make text, such as the marks of tool calls.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = (), visible: Collection[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._hidden = frozenset(tokenizer.all_special_ids) - set(visible) if visible else frozenset[int]()
        self._stop = tuple(stop)
        self._context: list[int] = []  # tokens of the last piece: decoders join neighbours (spaces, bytes)
        self._context_text = ""
        self._fresh: list[int] = []  # tokens that made no whole text yet
        self._pending = ""
        self.stopped_by: str | None = None

    def push(self, token_ids: Iterable[int]) -> str:
        """Take more tokens and return the text that is now certain, often none."""
        return "".join([self._push(token) for token in token_ids])

    def finish(self) -> str:
        """Return what was held back; the answer has ended."""
        if self.stopped_by is not None:
            return ""
        text = self._release(self._decode(self._context + self._fresh)[len(self._context_text) :])
        rest, self._pending = self._pending, ""
        return text + (rest if self.stopped_by is None else "")

    def _push(self, token: int) -> str:
        if self.stopped_by is not None:
            return ""
        self._fresh.append(token)
        whole, before = self._decode(self._context + self._fresh), len(self._context_text)
        if len(whole) <= before or whole.endswith(_INCOMPLETE):
            return ""
        self._context, self._fresh = self._fresh, []
        self._context_text = self._decode(self._context)
        return self._release(whole[before:])

    def _decode(self, token_ids: list[int]) -> str:
        shown = [token for token in token_ids if token not in self._hidden]
        return str(self._tokenizer.decode(shown, skip_special_tokens=not self._hidden, clean_up_tokenization_spaces=False))

    def _release(self, text: str) -> str:
        pending = self._pending + text
        found = [(pending.find(stop), stop) for stop in self._stop if stop in pending]
        if found:
            position, self.stopped_by = min(found)
            self._pending = ""
            return pending[:position]
        held = max((overlap(pending, stop) for stop in self._stop), default=0)
        self._pending = pending[len(pending) - held :]
        return pending[: len(pending) - held]
