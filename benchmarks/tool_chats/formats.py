"""Schemas of answers, with texts and the answers to them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from benchmarks.tool_chats import values

Asked = tuple[dict[str, Any], str, dict[str, Any]]  # the schema, what is asked, the answer

_RIDDLES = (
    ("What has hands but can't clap?", "A clock."),
    ("What has keys but opens no door?", "A piano."),
    ("What gets wet while it dries?", "A towel."),
    ("What has a neck but no head?", "A bottle."),
    ("What goes up and never comes down?", "Your age."),
    ("What has many teeth but can't bite?", "A comb."),
    ("What can you catch but not throw?", "A cold."),
    ("What runs but never walks?", "A river."),
    ("What is full of holes but holds water?", "A sponge."),
    ("What has one eye but can't see?", "A needle."),
)
_STORIES = (
    ("The Lost Key", "A boy finds an old key and opens a garden."),
    ("Night Train", "Two strangers share a train and a secret."),
    ("The Last Lighthouse", "A keeper lights the lamp one more time."),
    ("Blue Snow", "A village wakes up to snow as blue as the sea."),
    ("Paper Boats", "Children send letters down the river in boats."),
    ("The Quiet Bell", "A bell that never rang is heard at last."),
)
_SLOGANS = ("Fresh every morning.", "Made to last.", "Small steps, big views.", "Light for every day.", "Simply better.", "Close to you.")
_FACTS = (
    "They are older than most people think.",
    "Every one of them is a little different.",
    "People have cared about them for centuries.",
    "You can see them best in the morning.",
    "Nobody knows all of them.",
)


def _object(title: str, about: str, /, **fields: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "description": about, "type": "object", "properties": fields, "required": list(fields)}


def _text(about: str = "") -> dict[str, Any]:
    return {"type": "string", **({"description": about} if about else {})}


def _riddle(random: Random) -> Asked:
    question, answer = random.choice(_RIDDLES)
    first, second = random.choice((("question", "answer"), ("riddle", "solution"), ("first", "second")))
    schema = _object("Riddle", "Riddle for the user.", **{first: _text("what is asked"), second: _text("what it is")})
    ask = random.choice(("Tell me a riddle.", "Give me a riddle about {topic}.", "I'd love a riddle, please.", "A riddle about {topic}!"))
    return schema, ask.format(topic=values.topic(random)), {first: question, second: answer}


def _half_a_riddle(random: Random) -> Asked:
    question, answer = random.choice(_RIDDLES)
    schema = _object("Riddle", "Riddle for the user.", question=_text("what is asked"))
    schema["properties"]["answer"] = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "description": "what it is"}
    if random.random() < 0.5:
        return schema, "Give me a riddle without its answer.", {"question": question, "answer": None}
    return schema, "Give me a riddle with its answer.", {"question": question, "answer": answer}


def _story(random: Random) -> Asked:
    title, plot = random.choice(_STORIES)
    schema = _object("Story", "An idea for a story.", title=_text("its title"), plot=_text("what happens, in a sentence"))
    return schema, f"Think up a story about {values.topic(random)}.", {"title": title, "plot": plot}


def _advertisement(random: Random) -> Asked:
    schema = _object("Advertisement", "An advertisement.", product=_text(), slogan=_text("a short slogan"))
    thing = values.thing(random)
    return schema, f"Write an advertisement for {thing}.", {"product": thing, "slogan": random.choice(_SLOGANS)}


def _fact(random: Random) -> Asked:
    topic = values.topic(random)
    schema = _object("Fact", "Something worth knowing.", topic=_text(), fact=_text("one sentence"))
    return (
        schema,
        random.choice((f"Tell me something about {topic}.", f"A fact about {topic}, please.")),
        {"topic": topic, "fact": random.choice(_FACTS)},
    )


def _person(random: Random) -> Asked:
    name, age, city = values.person(random), random.randint(18, 80), values.city(random)
    schema = _object("Person", "A person that a text is about.", name=_text(), age={"type": "integer"}, city=_text("where they live"))
    text = random.choice(
        (f"{name} is {age} years old and lives in {city}.", f"I met {name} in {city}, who lives there and just turned {age}.")
    )
    return schema, text, {"name": name, "age": age, "city": city}


def _order(random: Random) -> Asked:
    count, thing, day = values.small(random), values.thing(random), values.day(random)
    schema = _object("Order", "An order.", item=_text(), quantity={"type": "integer"}, date=_text("YYYY-MM-DD"), urgent={"type": "boolean"})
    urgent = random.random() < 0.5
    text = f"Please send us {count} {thing} on {values.spoken_day(day)}{', it is urgent' if urgent else ''}."
    return schema, text, {"item": thing, "quantity": count, "date": day, "urgent": urgent}


def _review(random: Random) -> Asked:
    good = random.random() < 0.5
    said = random.choice(
        ("I love these {t}, five stars.", "Great {t}, would buy again.") if good else ("The {t} broke in a day.", "Bad {t}, never again.")
    )
    thing = values.thing(random)
    schema = _object("Review", "What a customer thinks.", product=_text(), mood={"type": "string", "enum": ["good", "bad"]})
    return schema, said.format(t=thing), {"product": thing, "mood": "good" if good else "bad"}


def _keywords(random: Random) -> Asked:
    words = random.sample([values.word(random) for _ in range(8)], 3)
    schema = _object("Keywords", "The nouns of a text.", keywords={"type": "array", "items": {"type": "string"}})
    return schema, f"The {words[0]} lay by the {words[1]}, under a {words[2]}.", {"keywords": words}


FORMATS: tuple[Callable[[Random], Asked], ...] = (
    _riddle,
    _half_a_riddle,
    _story,
    _advertisement,
    _fact,
    _person,
    _order,
    _review,
    _keywords,
)
