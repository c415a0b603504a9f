"""Values to fill in, drawn at random: names in many scripts, places, dates, numbers, words."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

_LISTS: dict[str, list[str]] = json.loads((Path(__file__).parent / "values.json").read_text("utf-8"))
_FIRST, _LAST, _SCRIPTS = (_LISTS[name] for name in ("first_names", "last_names", "names_in_other_scripts"))
_CITIES, _WORDS, _THINGS, _MONTHS, _TOPICS = (_LISTS[name] for name in ("cities", "words", "things", "months", "topics"))
_COINED = 0.35


class CoiningRandom(Random):
    """With this one a third of names and words are made up letter by letter, so that they have to be copied, not known."""


def _coined(random: Random) -> str:
    """A word that nobody knows, or none."""
    if not isinstance(random, CoiningRandom) or random.random() >= _COINED:
        return ""
    return "".join(random.sample(_LISTS["syllables"], random.randint(2, 3)))


def person(random: Random) -> str:
    """A name; one of three in another script than Latin."""
    if coined := _coined(random):
        return f"{random.choice(_FIRST)} {coined.title()}"
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
    return _coined(random).title() or random.choice(_CITIES)


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
    return _coined(random) or random.choice(_WORDS)


def phrase(random: Random) -> str:
    """Three or four words."""
    return " ".join(random.sample(_WORDS, random.randint(3, 4)))


def thing(random: Random) -> str:
    return f"{coined}s" if (coined := _coined(random)) else random.choice(_THINGS)


def topic(random: Random) -> str:
    return _coined(random) or random.choice(_TOPICS)


def code(random: Random) -> str:
    return f"{random.choice('ABCDEFGHKLMNPQRSTUVWXYZ')}{random.choice('ABCDEFGHKLMNPQRSTUVWXYZ')}-{random.randint(100, 9999)}"


def email(random: Random) -> str:
    return f"{word(random)}.{word(random)}@example.{random.choice(('com', 'org', 'net'))}"


def some_names(random: Random) -> list[str]:
    return random.sample(("Ana", "Bruno", "Chloe", "Dario", "Emil", "Freya", "Gita"), random.randint(2, 3))


def some_numbers(random: Random) -> list[int]:
    return [random.randint(1, 99) for _ in range(random.randint(2, 5))]


def some_words(random: Random) -> list[str]:
    return random.sample(_WORDS, random.randint(2, 4))


def whole_positive(random: Random) -> int:
    return random.choice((random.randint(2, 100), random.randint(101, 9999)))


def room_temperature(random: Random) -> int:
    return random.randint(15, 25)


def sentence(random: Random) -> str:
    """What somebody says or writes down, of any length up to a dozen words."""
    return _filled(random, random.choice(_LISTS["sentences"]))


def complaint(random: Random) -> str:
    return _filled(random, random.choice(_LISTS["complaints"]))


def _filled(random: Random, text: str) -> str:
    first, second = random.sample(_WORDS, 2)
    return text.format(w=first, v=second, t=time_of_day(random))


def dish(random: Random) -> str:
    return f"{coined} stew" if (coined := _coined(random)) else random.choice(_LISTS["dishes"])


def country(random: Random) -> str:
    return random.choice(_LISTS["countries"])


def street(random: Random) -> str:
    return f"{coined.title()} Street" if (coined := _coined(random)) else random.choice(_LISTS["streets"])


def inn(random: Random) -> str:
    return f"Hotel {coined.title()}" if (coined := _coined(random)) else random.choice(_LISTS["inns"])


def team(random: Random) -> str:
    return f"{coined.title()} United" if (coined := _coined(random)) else random.choice(_LISTS["teams"])


def title(random: Random) -> str:
    return f"The {coined.title()}" if (coined := _coined(random)) else random.choice(_LISTS["titles"])


def user_name(random: Random) -> str:
    return f"{random.choice(_WORDS)}{random.choice(('', '_', '.'))}{random.randint(1, 99)}"


def path(random: Random) -> str:
    """A file or a folder."""
    parts = random.sample(_WORDS, random.randint(1, 3))
    return f"/{'/'.join(parts)}{random.choice(('', '', '.txt', '.csv', '.pdf'))}"
