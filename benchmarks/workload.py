"""Request: what every contender is asked, in the same words. No dependencies: peers import it in their own environments."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        text: The user's message.
        soft_prompt: Name of the soft prompt; ``None`` for the bare model.
        system: The system message; ``None`` for what the chat template puts there by itself.
    """

    text: str
    soft_prompt: str | None = None
    system: str | None = None

    @property
    def messages(self) -> list[dict[str, str]]:
        """As a chat."""
        system = [{"role": "system", "content": self.system}] if self.system is not None else []
        return [*system, {"role": "user", "content": self.text}]

    def as_json(self) -> dict[str, Any]:
        """For the way to another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """And back."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a contender tells of one piece of work.

    Attributes:
        seconds: From the first request's text to the last answer's text.
        new_tokens: Tokens of each answer.
        prompt_tokens: Tokens of text in each request, without the soft prompt; empty when the contender does not know.
    """

    seconds: float
    new_tokens: list[int]
    prompt_tokens: list[int]

    @property
    def tokens_per_second(self) -> float:
        """All new tokens over the time it took, reading the prompts included."""
        return sum(self.new_tokens) / self.seconds
