"""ToolCallReader: an answer as it comes becomes text and calls."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langchain_softprompt.overlap import overlap
from langchain_softprompt.tool_calls.arguments import fitted_arguments, json_arguments
from langchain_softprompt.tool_calls.bare import OPEN, bare_length
from langchain_softprompt.tool_calls.bodies import python_calls
from langchain_softprompt.tool_calls.formats import ToolFormat
from langchain_softprompt.tool_calls.pieces import BrokenCall, Piece, Tool, ToolCall

_NAMED = re.compile(
    r'"(?:name|function|tool|tool_name)"\s*:\s*"([^"]+)"|^\s*([\w.\-]+)\s*(?:\[ARGS\]|\{|\()|call:([\w.\-]+)|<function=([^>\s]+)'
)

_REST_OF_STRING = re.compile(r'(?:[^"\\]|\\.)*"', re.DOTALL)


class ToolCallReader:
    """Splits one answer into text and calls, piece by piece; the pieces are the same however the text is cut up.

    Between marks everything is a call, and what can't be read as one is a `BrokenCall`. Without marks, at the beginning of
    an answer, text that reads as calls of tools that are offered is calls too, as small models forget the marks.
    No text is lost: it is in the pieces, or in the ``raw`` of a broken call; only white space beside calls is left out.

    Args:
        tool_format: How the model writes calls.
        tools: The tools that are offered; arguments are fitted to their schemas.
    """

    def __init__(self, tool_format: ToolFormat, tools: Sequence[Tool]) -> None:
        self._format = tool_format
        self._tools = {tool.name: tool for tool in tools}
        self._pending = ""
        self._region: _Region | None = None
        self._at_start = True
        self._spoke = False

    def push(self, text: str) -> list[Piece]:
        """Take more of the answer and return what is now certain."""
        self._pending += text
        pieces: list[Piece] = []
        while self._advance(pieces, last=False):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """Return the rest; the answer has ended."""
        pieces: list[Piece] = []
        while self._advance(pieces, last=True):
            pass
        if self._pending and not (self._at_start and self._spoke and not self._pending.strip()):
            self._say(pieces, self._pending)
        self._pending = ""
        return pieces

    def _advance(self, pieces: list[Piece], *, last: bool) -> bool:
        """Make one step; whether there may be another."""
        if self._region is not None:
            return self._read_call(pieces, self._region, last=last)
        if self._at_start:
            verdict = self._bare(pieces, last=last)
            if verdict is not None:
                return verdict
        return self._read_text(pieces, last=last)

    def _read_text(self, pieces: list[Piece], *, last: bool) -> bool:
        opening = self._format.opening
        at = self._pending.find(opening) if opening else -1
        if at >= 0:
            if before := self._pending[:at].rstrip():
                self._say(pieces, before)
            self._pending = self._pending[at + len(opening) :]
            self._region, self._at_start = _Region(self._format), False
            return True
        if last:
            return False
        held = overlap(self._pending, opening)
        certain = self._pending[: len(self._pending) - held].rstrip()
        if certain:
            self._say(pieces, certain)
            self._pending = self._pending[len(certain) :]
        return False

    def _read_call(self, pieces: list[Piece], region: _Region, *, last: bool) -> bool:
        end = region.end(self._pending)
        if end is None and not last:
            return False
        body_end, rest = end if end is not None else (len(self._pending), len(self._pending))
        body = self._pending[:body_end]
        pieces.extend(self._calls(body, self._format.closing if end is not None else ""))
        self._pending, self._region, self._spoke = self._pending[rest:], None, True
        return True

    def _calls(self, body: str, closing: str) -> list[Piece]:
        try:
            return [self._fitted(call) for call in self._format.read(body)]
        except ValueError as error:
            found = _NAMED.search(body)
            name = next((name for name in found.groups() if name), None) if found else None
            return [BrokenCall(self._format.opening + body + closing, str(error), name)]

    def _bare(self, pieces: list[Piece], *, last: bool) -> bool | None:
        """Try the beginning of the answer as a call without marks; ``None`` when it is text."""
        text = self._pending.lstrip()
        lead = len(self._pending) - len(text)
        if not text:
            return False if not last else None
        if self._spoke and text[0] in ";,":
            self._pending = text[1:]
            return True
        length = bare_length(text, self._tools)
        calls: list[ToolCall] | None = None
        if length == OPEN and not last:
            return False
        if length is not None:
            text = text if length == OPEN else text[:length]
            calls = self._bare_calls(text)
        if calls is None:
            self._at_start = False
            return None
        pieces.extend(calls)
        self._pending, self._spoke = self._pending[lead + len(text) :], True
        return True

    def _bare_calls(self, text: str) -> list[ToolCall] | None:
        try:
            calls = python_calls(text)
            return [self._fitted(call) for call in calls] if all(call.name in self._tools for call in calls) else None
        except ValueError:
            return None

    def _fitted(self, call: ToolCall) -> ToolCall:
        tool = self._tools.get(call.name)
        plain = json_arguments(call.arguments)
        return ToolCall(call.name, json_arguments(fitted_arguments(plain, tool.parameters)) if tool else plain)

    def _say(self, pieces: list[Piece], text: str) -> None:
        pieces.append(text)
        self._at_start = False


class _Region:
    """Looks for where a call ends, without looking inside the strings of its JSON twice."""

    def __init__(self, tool_format: ToolFormat) -> None:
        self._closing, self._opening = tool_format.closing, tool_format.opening
        self._strings: bool | None = None  # whether quotes matter: not known before the first character
        self._at = 0
        self._inside = False

    def end(self, text: str) -> tuple[int, int] | None:
        """Where the body ends, and where the text after the mark begins; ``None`` while that is open."""
        mark = self._closing or self._opening
        if not mark:
            return None
        if self._strings is None:
            first = text.lstrip()[:1]
            if not first:
                return None
            self._strings = first in "{[" or not self._closing
        while self._at < len(text):
            if self._inside:
                string = _REST_OF_STRING.match(text, self._at)
                if string is None:
                    return None
                self._at, self._inside = string.end(), False
            elif text.startswith(mark, self._at):
                return self._at, self._at + len(self._closing)
            elif mark.startswith(text[self._at :]):
                return None  # the mark may be about to come
            else:
                self._inside = self._strings and text[self._at] == '"'
                self._at += 1
        return None


__all__ = ["ToolCallReader"]
