"""Texts that the frozen model makes itself, for a hard prompt that has no data of its own."""

from __future__ import annotations

from collections.abc import Callable

from langchain_softprompt.data import HardPrompt, Row, fields_of
from langchain_softprompt.engine import Engine
from langchain_softprompt.errors import TrainingDataError
from langchain_softprompt.frozen_model import FrozenModel
from langchain_softprompt.settings import GenerationSettings
from langchain_softprompt.training.teacher import Teacher

_TRIES_A_TEXT = 3
_LONGEST = 64


def make_texts(
    model: FrozenModel, hard_prompt: HardPrompt, count: int, *, seed: int = 0, on_text: Callable[[], None] | None = None
) -> list[Row]:
    """Let the model speak in the user's place, after the instructions and the solved examples, at temperature 1.

    (As Cartridges' self-study does, Eyuboglu et al. 2025, arXiv:2506.06266.) What comes out empty or twice is dropped.

    Args:
        model: The frozen model.
        hard_prompt: A template with one field.
        count: How many texts are wanted.
        seed: Seed of the drawing.
        on_text: Called for each text that is drawn.

    Returns:
        Rows with that one field; fewer than asked for where the model repeats itself.

    Raises:
        TrainingDataError: The template has several fields, or the model said nothing that can be used.
    """
    if len(hard_prompt.fields) != 1 or model.tokenizer is None:
        raise TrainingDataError(
            hard_prompt.name, None, f"texts can be made up for a template with one field only, and this one has {len(hard_prompt.fields)}."
        )
    (field,) = hard_prompt.fields
    opened, closing = _around_the_field(model, hard_prompt, field)
    made: dict[str, None] = {}
    with Engine(model) as engine:
        running = [
            engine.submit(
                opened, settings=GenerationSettings(max_new_tokens=_LONGEST, temperature=1.0, top_p=0.95, seed=seed * 1_000_003 + number)
            )
            for number in range(count * _TRIES_A_TEXT)
        ]
        for generation in running:
            result = generation.result()
            said = str(model.tokenizer.decode(list(result.token_ids), skip_special_tokens=True))
            text = " ".join((said.split(closing, maxsplit=1)[0] if closing else said).split())
            if text and result.finish_reason == "stop" and text not in made:
                made[text] = None
                if on_text:
                    on_text()
            if len(made) == count:
                break
        for generation in running:
            generation.cancel()
    if not made:
        raise TrainingDataError(hard_prompt.name, None, f"{model.name} makes up no texts for it. Give texts of your own.")
    return [{field: text} for text in made]


def _around_the_field(model: FrozenModel, hard_prompt: HardPrompt, field: str) -> tuple[list[int], str]:
    """The tokens up to where the field's text begins, and the words that follow it in its message."""
    teacher = Teacher(model, hard_prompt)
    one, other = (teacher.texts({field: word})[1] for word in ("Apple", "7 zebras"))
    same = next(place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    template = next(message.template for message in teacher.tail if fields_of([message], hard_prompt.name))
    return list(one[:same]), template.split("{" + field + "}", 1)[1].strip()


__all__ = ["make_texts"]
