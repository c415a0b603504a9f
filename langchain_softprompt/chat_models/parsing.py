"""Parsers: what a held answer means. Each refuses an answer that was cut off, rather than mend it in silence."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pydantic
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import BaseMessage, BaseMessageChunk
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser, StrOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from typing_extensions import override

from langchain_softprompt.calls.response_format import read_response_format
from langchain_softprompt.errors import AnswerFormatError


def _whole(result: list[Generation], response_format: dict[str, Any]) -> str:
    """An answer's text, if it is all there.

    Raises:
        AnswerFormatError: It was cut, or does not fit, or there is none, as a tool was called.
    """
    generation = result[0]
    metadata = generation.message.response_metadata if isinstance(generation, ChatGeneration) else {}
    called = [call["name"] for call in getattr(generation.message, "tool_calls", [])] if isinstance(generation, ChatGeneration) else []
    if called and not generation.text:
        msg = (
            f"The model called a tool ({', '.join(called)}) before it could give the structured answer. Run the tool and send its answer "
            "along, with include_raw=True to see the call, or let create_agent(response_format=...) do both."
        )
        raise AnswerFormatError(msg, text=generation.text, reason="tool_calls")
    held = read_response_format(response_format)
    if held is not None:
        held.check(generation.text, metadata.get("finish_reason"))
    return generation.text


class JsonParser(JsonOutputParser):
    """JSON as Python values; in a stream, of as much as has come."""

    pydantic_object: Annotated[type[Any] | None, pydantic.SkipValidation()] = None
    """None: plain values."""

    response_format: dict[str, Any]
    """What the answer was held to."""

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if not partial:
            return json.loads(_whole(result, self.response_format))
        try:
            return super().parse_result(result, partial=True)
        except (ValueError, RecursionError):  # a number too long for Python, or lists too deep
            return None


class ModelParser(PydanticOutputParser[Any]):
    """A Pydantic object; in a stream, as soon as what has come makes one."""

    pydantic_object: Annotated[type[Any], pydantic.SkipValidation()]
    """The Pydantic class."""

    response_format: dict[str, Any]
    """What the answer was held to."""

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if not partial:
            text = _whole(result, self.response_format)
            kind: Any = self.pydantic_object
            if not issubclass(kind, pydantic.BaseModel):
                return self._parse_obj(json.loads(text))
            try:
                return kind.model_validate_json(text)  # from JSON, as strict fields take dates and the like from there only
            except pydantic.ValidationError as error:
                raise self._parser_exception(error, json.loads(text)) from error
        try:
            return super().parse_result(result, partial=True)
        except (ValueError, RecursionError):
            return None


class TextParser(StrOutputParser):
    """The text itself, which a pattern matches as a whole; in a stream, piece by piece."""

    response_format: dict[str, Any]
    """What the answer was held to."""

    pattern: re.Pattern[str]
    """The same to Python, which reads a few patterns in another way: it knows fewer digits, for instance."""

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> str:
        generation, text = result[0], _whole(result, self.response_format)
        piece = isinstance(generation, ChatGeneration) and isinstance(generation.message, BaseMessageChunk)
        return text if piece else self._checked(text)

    @override
    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[str]:
        whole = ""
        for piece in super()._transform(input):
            whole += piece
            yield piece
        self._checked(whole)

    @override
    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[str]:
        whole = ""
        async for piece in super()._atransform(input):
            whole += piece
            yield piece
        self._checked(whole)

    def _checked(self, text: str) -> str:
        if self.pattern.fullmatch(text) is None:
            msg = (
                f"The answer {text!r} was held to {self.pattern.pattern!r} as Rust's regular expressions read it, and Python's do not "
                "match it. Write the pattern so that both mean the same, for instance [0-9] for \\d."
            )
            raise AnswerFormatError(msg, text=text, reason="schema")
        return text


class ChoiceParser(BaseOutputParser[Any]):
    """The value that a text stands for."""

    response_format: dict[str, Any]
    """What the answer was held to."""

    values: dict[str, Any]
    """What each text stands for."""

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        return self.parse(_whole(result, self.response_format))

    @override
    def parse(self, text: str) -> Any:
        if text not in self.values:
            msg = f"The answer {text!r} is none of the choices: {', '.join(map(repr, self.values))}."
            raise OutputParserException(msg, llm_output=text)
        return self.values[text]


__all__ = ["ChoiceParser", "JsonParser", "ModelParser", "TextParser"]
