"""How an evaluation is made."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_softprompt.errors import InvalidSettingsError
from langchain_softprompt.evaluation.statistics import RESAMPLES

ANSWERS = ("auto", "free", "choices", "both")


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """How an evaluation is made.

    Attributes:
        answers: How answers are decoded. ``"free"``: anything. ``"choices"``: one of the labels. ``"both"``: each row twice;
            label metrics look at choices, text metrics at free answers. ``"auto"`` takes both for labels, else free.
        max_tokens: Most tokens of a free answer; ``None`` takes the longest wanted answer and some more.
        ignore_case: Take upper and lower case as the same.
        seed: Seed of resamples and of rows drawn.
        resamples: Resamples of the bootstrap and of the randomisation test.
        worst: How many of the worst cases to keep for each soft prompt.
        gap_rows: Most training rows to answer, for the over-fitting gap; no more than evaluation rows, but 50.
        knowledge: Whether to look at what is left of the bare model.
        allow_other_model: Take soft prompts that were made for another model.
        max_rows: Most requests that the engine runs together.
    """

    answers: str = "auto"
    max_tokens: int | None = None
    ignore_case: bool = False
    seed: int = 0
    resamples: int = RESAMPLES
    worst: int = 10
    gap_rows: int = 200
    knowledge: bool = True
    allow_other_model: bool = False
    max_rows: int = 16

    def __post_init__(self) -> None:
        if self.answers not in ANSWERS:
            msg = f"answers: expected one of {', '.join(ANSWERS)}, found {self.answers!r}."
            raise InvalidSettingsError(msg)
        least = {"max_tokens": 1, "seed": 0, "resamples": 100, "worst": 0, "gap_rows": 1, "max_rows": 1}
        for name, minimum in least.items():
            value = getattr(self, name)
            if name == "max_tokens" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
                msg = f"{name}: expected an integer of at least {minimum}, found {value!r}."
                raise InvalidSettingsError(msg)


__all__ = ["ANSWERS", "EvaluationOptions"]
