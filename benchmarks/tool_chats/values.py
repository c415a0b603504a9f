"""Values to fill in, drawn at random: names in many scripts, places, dates, numbers, words."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

_LISTS: dict[str, list[str]] = json.loads((Path(__file__).parent / "values.json").read_text("utf-8"))
_FIRST, _LAST, _SCRIPTS = (_LISTS[name] for name in ("first_names", "last_names", "names_in_other_scripts"))
_CITIES, _WORDS, _THINGS, _MONTHS, _TOPICS = (_LISTS[name] for name in ("cities", "words", "things", "months", "topics"))


def person(random: Random) -> str:
    """A name; one of three in another script than Latin."""
    return (
        random.choice(_SCRIPTS)
        if random.random() < 0.35
        else f"{random.choice(_LISTS['first_names'])} {random.choice(_LISTS['last_names'])}"
    )


def first_name(random: Random) -> str:
    return random.choice(_FIRST)


def company(random: Random) -> str:
    if random.random() < 0.6:
        return random.choice(_SCRIPTS)
    return f"{word(random).title()} {word(random).title()} {random.choice(('Ltd', 'Inc.', 'GmbH', 'AG', 'SA'))}"


def city(random: Random) -> str:
    return random.choice(_CITIES)


def day(random: Random) -> str:
    return f"2026-{random.randint(1, 12):02d}-{random.randint(1, 28):02d}"


def spoken_day(date: str) -> str:
    """The same date as people write it."""
    _, month, number = date.split("-")
    return f"{_LISTS['months'][int(month) - 1]} {int(number)}, 2026"


def time_of_day(random: Random) -> str:
    return f"{random.randint(6, 22):02d}:{random.choice(('00', '15', '30', '45'))}"


def small(random: Random) -> int:
    return random.randint(1, 12)


def whole(random: Random) -> int:
    return random.choice((random.randint(-20, 20), random.randint(0, 100), random.randint(-900, 900), random.randint(1000, 90000)))


def amount(random: Random) -> float:
    return random.choice((round(random.uniform(1, 99), 1), round(random.uniform(1, 999), 2)))


def word(random: Random) -> str:
    return random.choice(_WORDS)


def phrase(random: Random) -> str:
    """Three or four words."""
    return " ".join(random.sample(_WORDS, random.randint(3, 4)))


def thing(random: Random) -> str:
    return random.choice(_THINGS)


def topic(random: Random) -> str:
    return random.choice(_TOPICS)


def code(random: Random) -> str:
    return f"{random.choice('ABCDEFGHKLMNPQRSTUVWXYZ')}{random.choice('ABCDEFGHKLMNPQRSTUVWXYZ')}-{random.randint(100, 9999)}"


def email(random: Random) -> str:
    return f"{word(random)}.{word(random)}@example.{random.choice(('com', 'org', 'net'))}"


def some_names(random: Random) -> list[str]:
    return random.sample(("Ana", "Bruno", "Chloe", "Dario", "Emil", "Freya", "Gita"), random.randint(2, 3))
