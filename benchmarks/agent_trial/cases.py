"""What is asked of the agents, which calls are right, and what the answer has to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        kind: What it shows.
        asked: The question.
        tools: Names of the tools on offer.
        calls: The calls that are right, each once.
        told: What the answer has to say, in capitals or not.
        strategy: ``tool`` or ``provider``, where the answer has a format.
        format: Its name.
        value: What it has to be.
    """

    kind: str
    asked: str
    tools: tuple[str, ...]
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    told: tuple[str, ...] = ()
    strategy: str = ""
    format: str = ""
    value: dict[str, Any] | None = None


def _one(asked: str, tools: str, name: str, told: str, /, **arguments: Any) -> Case:
    return Case("one call", asked, tuple(tools.split()), ((name, arguments),), (told,))


def _two(asked: str, tools: str, calls: list[tuple[str, dict[str, Any]]], *told: str) -> Case:
    return Case("two calls", asked, tuple(tools.split()), tuple(calls), told)


def _held(strategy: str, asked: str, tools: str, call: tuple[str, dict[str, Any]], shape: str, **value: Any) -> Case:
    return Case(f"{strategy} strategy", asked, tuple(tools.split()), (call,), (), strategy, shape, value)


_SNOW = ("snow_depth", {"resort": "Zermatt"})
_PART_ASKED = "What is part FP-220 and what does it cost?"
_CRANE_ASKED = "How much is crane K4 carrying, and what is its limit?"
_QUARRY_ASKED = "What was the output of the quarry in March?"
_CRANE = ("crane_load", {"crane": "K4"})
_QUARRY = ("quarry_output", {"month": "March"})
_PART = ("spare_part", {"part_number": "FP-220"})

# Soft prompts were compared on these before one was taken.
SEEN = (
    _one("How much snow is there in Zermatt?", "snow_depth lift_queue", "snow_depth", "143", resort="Zermatt"),
    _one("How long do I have to wait at the Gipfelbahn lift?", "snow_depth lift_queue wine_for", "lift_queue", "27", lift="Gipfelbahn"),
    _one("Rent me a bike at Central Park for 3 hours.", "bike_rental gym_capacity", "bike_rental", "58", station="Central Park", hours=3),
    _one("Which wine goes with roast duck?", "lake_temperature wine_for vet_slot", "wine_for", "riesling", meal="roast duck"),
    _one("How warm is Lake Garda?", "lake_temperature elevator_state", "lake_temperature", "18.5", lake="Lake Garda"),
    _one("How full is the gym right now?", "gym_capacity concert_seats bike_rental", "gym_capacity", "61"),
    _one(
        "What's the matter with the elevator in the north building?",
        "elevator_state gym_capacity",
        "elevator_state",
        "7",
        building="north",
    ),
    _one("Are there seats left for Blue Comet?", "blood_reserve concert_seats snow_depth", "concert_seats", "312", band="Blue Comet"),
    _one("What is part FP-220?", "spare_part tyre_pressure captain_of", "spare_part", "fuel pump", part_number="FP-220"),
    _one("How many units of AB negative do we have?", "blood_reserve vet_slot", "blood_reserve", "34", blood_type="AB negative"),
    _one("Who is the captain of the Sea Breeze?", "captain_of concert_seats", "captain_of", "ingrid solberg", ship="Sea Breeze"),
    _one(
        "When can I bring my rabbit to the vet on Tuesday?",
        "wine_for vet_slot gym_capacity spare_part",
        "vet_slot",
        "16:40",
        animal="rabbit",
        weekday="Tuesday",
    ),
    _one(
        "I am Swiss and want to travel to Mongolia. Do I need a visa?",
        "visa_needed bike_rental",
        "visa_needed",
        "45",
        nationality="Swiss",
        destination="Mongolia",
    ),
    _two(
        "How much snow is there in Davos, and how long is the queue at the Jakobshorn lift?",
        "snow_depth lift_queue",
        [("snow_depth", {"resort": "Davos"}), ("lift_queue", {"lift": "Jakobshorn"})],
        "143",
        "27",
    ),
    _two(
        "What wine do you suggest for lobster? And how warm is Lake Como?",
        "wine_for lake_temperature gym_capacity",
        [("wine_for", {"meal": "lobster"}), ("lake_temperature", {"lake": "Lake Como"})],
        "riesling",
        "18.5",
    ),
    _two(
        "Check the elevator in the north building and the one in the south building.",
        "elevator_state concert_seats",
        [("elevator_state", {"building": "north"}), ("elevator_state", {"building": "south"})],
        "7",
    ),
    _two(
        "Call the captain of the Northern Star and tell me the answer.",
        "captain_of radio_call",
        [("captain_of", {"ship": "Northern Star"}), ("radio_call", {"captain": "Ingrid Solberg"})],
        "9",
    ),
    Case(
        "failed call",
        "How high is the satellite Orion-4?",
        ("satellite_altitude", "snow_depth"),
        (("satellite_altitude", {"satellite": "Orion-4"}),),
        ("sorry",),
    ),
    Case(
        "failed call",
        "What's the tyre pressure of the red van?",
        ("spare_part", "tyre_pressure"),
        (("tyre_pressure", {"car": "red van"}),),
        ("sorry",),
    ),
    Case("no call", "Hello, how are you today?", ("snow_depth", "wine_for")),
    Case("no call", "What is the capital of France?", ("gym_capacity", "bike_rental", "vet_slot"), (), ("paris",)),
    Case("no call", "Thank you, that is all for now.", ("concert_seats", "spare_part")),
    _held("tool", "How is the snow in Zermatt?", "snow_depth", _SNOW, "SnowReport", resort="Zermatt", depth_cm=143),
    _held("tool", _PART_ASKED, "spare_part captain_of", _PART, "PartInfo", name="fuel pump", price=89),
    _held("tool", "How many people are in the gym?", "gym_capacity bike_rental", ("gym_capacity", {}), "GymLoad", people=61, capacity=80),
    _held(
        "tool",
        "How warm is Lake Bled?",
        "lake_temperature wine_for",
        ("lake_temperature", {"lake": "Lake Bled"}),
        "LakeReport",
        lake="Lake Bled",
        degrees=18.5,
    ),
    _held("provider", "How is the snow in Zermatt?", "snow_depth lift_queue", _SNOW, "SnowReport", resort="Zermatt", depth_cm=143),
    _held("provider", _PART_ASKED, "spare_part", _PART, "PartInfo", name="fuel pump", price=89),
    _held(
        "provider", "How many people are in the gym?", "gym_capacity bike_rental", ("gym_capacity", {}), "GymLoad", people=61, capacity=80
    ),
)

# Asked only of the one that was taken, and of the one before it.
UNSEEN = (
    _one("How far has the Aletsch glacier retreated?", "glacier_retreat karaoke_slot", "glacier_retreat", "52", glacier="Aletsch"),
    _one("When is the next karaoke slot at the Blue Parrot?", "karaoke_slot bread_order", "karaoke_slot", "21:15", bar="Blue Parrot"),
    _one("How much is crane K4 carrying?", "crane_load tunnel_state piano_tuner", "crane_load", "14", crane="K4"),
    _one("Can I eat a fly agaric?", "mushroom_check dog_owner", "mushroom_check", "poison", mushroom="fly agaric"),
    _one("When does the piano tuner come?", "piano_tuner ski_pass", "piano_tuner", "14 may"),
    _one(_QUARRY_ASKED, "crane_load quarry_output glacier_retreat", "quarry_output", "730", month="March"),
    _one(
        "I need the phone number of the consulate of Peru.", "consulate_phone karaoke_slot", "consulate_phone", "555-0192", country="Peru"
    ),
    _one("Buy me a ski pass for 3 days and 2 adults.", "ski_pass tunnel_state", "ski_pass", "3301", days=3, adults=2),
    _one("Order 6 loaves of rye bread.", "bread_order mushroom_check piano_tuner", "bread_order", "77", bread="rye bread", loaves=6),
    _one("Is the Gotthard tunnel open?", "tunnel_state consulate_phone", "tunnel_state", "closed", tunnel="Gotthard"),
    _one("Who is the owner of the dog Bella?", "dog_owner quarry_output", "dog_owner", "ravn eide", dog="Bella"),
    _one(
        "Tell me when I can sing at the Night Owl.", "karaoke_slot dog_owner crane_load ski_pass", "karaoke_slot", "21:15", bar="Night Owl"
    ),
    _two(
        "How much is crane K4 carrying, and what was the output of the quarry in March?",
        "crane_load quarry_output",
        [_CRANE, _QUARRY],
        "14",
        "730",
    ),
    _two(
        "Is the Gotthard tunnel open? And when does the piano tuner come?",
        "tunnel_state piano_tuner bread_order",
        [("tunnel_state", {"tunnel": "Gotthard"}), ("piano_tuner", {})],
        "closed",
        "14 may",
    ),
    _two(
        "Check two mushrooms for me: chanterelle and death cap.",
        "mushroom_check karaoke_slot",
        [("mushroom_check", {"mushroom": "chanterelle"}), ("mushroom_check", {"mushroom": "death cap"})],
        "poison",
    ),
    Case(
        "failed call",
        "What's the humidity in greenhouse 5?",
        ("greenhouse_humidity", "bread_order"),
        (("greenhouse_humidity", {"greenhouse": "5"}),),
        ("sorry",),
    ),
    Case("no call", "Good afternoon!", ("crane_load", "dog_owner")),
    Case("no call", "How many days are there in a week?", ("ski_pass", "tunnel_state", "piano_tuner"), (), ("seven",)),
    Case("no call", "Great, thank you very much!", ("mushroom_check", "karaoke_slot")),
    _held("tool", _CRANE_ASKED, "crane_load", _CRANE, "CraneReport", crane="K4", load=14, limit=20),
    _held(
        "tool",
        "Is the Gotthard tunnel open?",
        "tunnel_state bread_order",
        ("tunnel_state", {"tunnel": "Gotthard"}),
        "TunnelReport",
        tunnel="Gotthard",
        open=False,
    ),
    _held("tool", _QUARRY_ASKED, "quarry_output", _QUARRY, "QuarryReport", month="March", tonnes=730),
    _held("provider", _CRANE_ASKED, "crane_load", _CRANE, "CraneReport", crane="K4", load=14, limit=20),
    _held("provider", _QUARRY_ASKED, "quarry_output piano_tuner", _QUARRY, "QuarryReport", month="March", tonnes=730),
)
SETS = {"seen": SEEN, "unseen": UNSEEN}
