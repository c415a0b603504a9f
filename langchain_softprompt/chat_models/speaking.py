"""Speech: the text of an answer becomes what LangChain calls a message, with tool calls taken out of it."""

from __future__ import annotations

import json
import secrets
import string
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall
from langchain_core.messages import ToolCall as CallBlock
from langchain_core.messages.tool import ToolCallChunk, invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_softprompt.messages import ReasoningReader, Thought
from langchain_softprompt.tool_calls import BrokenCall, Piece, ToolCall, ToolCallReader

if TYPE_CHECKING:
    from langchain_softprompt.calls.answering import Ending, UnderWay
    from langchain_softprompt.chats import ToolUse
    from langchain_softprompt.tool_calls import ToolFormat

_REASONING = "reasoning_content"  # where LangChain looks for reasoning blocks
_LETTERS = string.ascii_letters + string.digits


class Speech:
    """One answer's text on its way into a message.

    Attributes:
        called: Whether it has asked for a tool.

    Args:
        use: The tools that were offered. With none the text is the message.
        tool_format: How the model writes calls.
        reasoning_begun: Whether the prompt opened the answer's reasoning; ``None`` where reasoning is text.
    """

    def __init__(self, use: ToolUse, tool_format: ToolFormat, *, reasoning_begun: bool | None = None) -> None:
        self._reader = ToolCallReader(tool_format, use.tools) if use.tools else None
        self._reasoning = ReasoningReader(begun=reasoning_begun) if reasoning_begun is not None else None
        self._last: type | None = None  # of the last piece
        self._blocks = 0  # content blocks so far: in LangChain's v1 form a call's index counts what stands before it
        self.called = False

    def push(self, text: str) -> list[AIMessageChunk]:
        """Chunks for more text, often none."""
        return [self._chunk(piece) for piece in self._pieces(text)]

    def finish(self) -> list[AIMessageChunk]:
        """Chunks for what was held back; the answer has ended."""
        return [self._chunk(piece) for piece in self._rest()]

    def whole(self, text: str) -> dict[str, Any]:
        """Content, calls and reasoning of a message, from the whole text."""
        pieces = [*self._pieces(text), *self._rest()]
        calls: list[CallBlock] = []
        broken: list[InvalidToolCall] = []
        for piece in pieces:
            if isinstance(piece, ToolCall):
                calls.append(tool_call(name=piece.name, args=dict(piece.arguments), id=_new_id()))
            elif isinstance(piece, BrokenCall):
                broken.append(invalid_tool_call(name=piece.name, args=piece.raw, id=_new_id(), error=piece.problem))
        self.called = bool(calls)
        thought = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
        return {
            "content": "".join(piece for piece in pieces if isinstance(piece, str)),
            "tool_calls": calls,
            "invalid_tool_calls": broken,
            "additional_kwargs": {_REASONING: thought} if thought else {},
        }

    def _pieces(self, text: str) -> list[Piece | Thought]:
        return self._read(self._reasoning.push(text) if self._reasoning is not None else [text])

    def _rest(self) -> list[Piece | Thought]:
        held = self._read(self._reasoning.finish()) if self._reasoning is not None else []
        return held + (self._reader.finish() if self._reader is not None else [])

    def _read(self, pieces: list[str | Thought] | list[str]) -> list[Piece | Thought]:
        """Calls taken out of the text among some pieces."""
        read: list[Piece | Thought] = []
        for piece in pieces:
            read += self._reader.push(piece) if isinstance(piece, str) and self._reader is not None else [piece]
        return read

    def _chunk(self, piece: Piece | Thought) -> AIMessageChunk:
        self._blocks += isinstance(piece, ToolCall | BrokenCall) or type(piece) is not self._last
        self._last = type(piece)
        if isinstance(piece, str):
            return AIMessageChunk(content=piece)
        if isinstance(piece, Thought):
            return AIMessageChunk(content="", additional_kwargs={_REASONING: piece.text})
        self.called = self.called or isinstance(piece, ToolCall)
        return AIMessageChunk(content="", tool_call_chunks=[self._call_chunk(piece)])

    def _call_chunk(self, piece: ToolCall | BrokenCall) -> ToolCallChunk:
        # A broken call comes with its marks: LangChain would complete half an object to a whole one, and call the tool.
        args = json.dumps(dict(piece.arguments), ensure_ascii=False) if isinstance(piece, ToolCall) else piece.raw
        return tool_call_chunk(name=piece.name, args=args, id=_new_id(), index=self._blocks - 1)


def _new_id() -> str:
    """Nine letters and digits, which all chat templates take; models name none themselves."""
    return "".join(secrets.choice(_LETTERS) for _ in range(9))


def speech_of(answering: UnderWay) -> Speech:
    """What turns a call's answer into a message."""
    call = answering.call
    return Speech(call.use, call.tool_format, reasoning_begun=call.reasoning_begun)


def result_of(text: str, answering: UnderWay) -> ChatResult:
    """A whole answer."""
    ending, speech = answering.ending, speech_of(answering)
    said = speech.whole(text)
    message = AIMessage(**said, usage_metadata=ending.usage, response_metadata=_metadata(ending, speech))
    return ChatResult(generations=[ChatGeneration(message=message)])


def chunk_of(message: AIMessageChunk, answering: UnderWay) -> ChatGenerationChunk:
    """A piece of an answer."""
    message.response_metadata = answering.fresh_metadata()
    return ChatGenerationChunk(message=message)


def last_chunk_of(answering: UnderWay, speech: Speech) -> ChatGenerationChunk:
    """The end of an answer. Usage and metadata belong here alone: strings in them would be joined when chunks are added up."""
    ending = answering.ending
    message = AIMessageChunk(content="", usage_metadata=ending.usage, response_metadata=_metadata(ending, speech), chunk_position="last")
    return ChatGenerationChunk(message=message)


def _metadata(ending: Ending, speech: Speech) -> dict[str, Any]:
    # An answer that the token limit cut says so, also where calls before the cut are whole.
    called = speech.called and ending.metadata["finish_reason"] != "length"
    return {**ending.metadata, "finish_reason": "tool_calls"} if called else ending.metadata


__all__ = ["Speech", "chunk_of", "last_chunk_of", "result_of", "speech_of"]
