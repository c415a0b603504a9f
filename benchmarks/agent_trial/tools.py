"""Tools that agents are given. Each answers the same to everything it is asked, so that what is told can be looked for."""

from __future__ import annotations

from typing import Literal

from langchain_core.tools import BaseTool, ToolException, tool
from pydantic import BaseModel


@tool
def snow_depth(resort: str) -> str:
    """Get the depth of the snow at a ski resort."""
    return f"143 cm at {resort}"


@tool
def lift_queue(lift: str) -> str:
    """How long people wait at a ski lift."""
    return "27 minutes"


@tool
def bike_rental(station: str, hours: int) -> str:
    """Rent a bike at a station for some hours."""
    return f"Bike 58 at {station}, {hours} hours."


@tool
def visa_needed(nationality: str, destination: str) -> str:
    """Tell whether a visa is needed to travel somewhere."""
    return "A visa is needed, it costs 45 euros."


@tool
def wine_for(meal: str) -> str:
    """Suggest a wine that goes with a meal."""
    return "Riesling, 2019"


@tool
def lake_temperature(lake: str) -> dict[str, float | str]:
    """Water temperature of a lake in degrees."""
    return {"lake": lake, "degrees": 18.5}


@tool
def gym_capacity() -> str:
    """See how full the gym is."""
    return "61 of 80 people"


@tool
def elevator_state(building: Literal["north", "south"]) -> str:
    """State of the elevator in one of the buildings.

    Args:
        building: north or south
    """
    return f"The elevator in {building} is stuck on floor 7."


@tool
def concert_seats(band: str) -> str:
    """How many seats are left for the concert of a band."""
    return "312 seats left"


@tool
def spare_part(part_number: str) -> dict[str, str | int]:
    """Look up a spare part by its part number."""
    return {"part": part_number, "name": "fuel pump", "price": 89}


@tool
def blood_reserve(blood_type: str) -> str:
    """How many units of a blood type the hospital has."""
    return "34 units"


@tool
def satellite_altitude(satellite: str) -> str:
    """The altitude of a satellite."""
    return "Error: no contact with the satellite"


@tool
def captain_of(ship: str) -> str:
    """Find the captain of a ship."""
    return "Ingrid Solberg"


@tool
def radio_call(captain: str) -> str:
    """Call a captain over the radio and return the reply."""
    return "All well, arriving on pier 9."


@tool
def vet_slot(animal: str, weekday: str) -> str:
    """Free times at the vet's for an animal on a weekday."""
    return "16:40"


@tool
def tyre_pressure(car: str) -> str:
    """The tyre pressure of one of our cars."""
    msg = "The sensor of the tyre is broken"
    raise ToolException(msg)


tyre_pressure.handle_tool_error = True


@tool
def glacier_retreat(glacier: str) -> str:
    """How far a glacier has retreated since last year."""
    return "retreated by 52 metres"


@tool
def karaoke_slot(bar: str) -> str:
    """Next free karaoke slot in a bar."""
    return "21:15"


@tool
def crane_load(crane: str) -> dict[str, int | str]:
    """What a crane carries at the moment, in tonnes."""
    return {"crane": crane, "load": 14, "limit": 20}


@tool
def mushroom_check(mushroom: str) -> str:
    """Check whether a mushroom can be eaten."""
    return "poisonous, do not eat"


@tool
def piano_tuner() -> str:
    """When the piano tuner comes next."""
    return "on 14 May"


@tool
def quarry_output(month: str) -> str:
    """Output of the quarry in a month."""
    return "730 tonnes"


@tool
def consulate_phone(country: str) -> str:
    """Phone number of a country's consulate."""
    return "555-0192"


@tool
def ski_pass(days: int, adults: int) -> str:
    """Buy a ski pass for some days and people."""
    return "Pass 3301 for 240 euros"


@tool
def bread_order(bread: str, loaves: int) -> str:
    """Order loaves of bread at the bakery."""
    return f"Order 77: {loaves} {bread}"


@tool
def tunnel_state(tunnel: str) -> str:
    """Whether a tunnel is open to traffic."""
    return "closed until 06:00"


@tool
def dog_owner(dog: str) -> str:
    """Find the owner of a registered dog."""
    return "Ravn Eide"


@tool
def greenhouse_humidity(greenhouse: str) -> str:
    """Humidity in one of the greenhouses."""
    msg = "The probe is offline"
    raise ToolException(msg)


greenhouse_humidity.handle_tool_error = True


class SnowReport(BaseModel):
    """How a resort is."""

    resort: str
    depth_cm: int


class PartInfo(BaseModel):
    """What is known of a part."""

    name: str
    price: int


class GymLoad(BaseModel):
    """How many people are in the gym."""

    people: int
    capacity: int


class LakeReport(BaseModel):
    """A lake and how warm it is."""

    lake: str
    degrees: float


class CraneReport(BaseModel):
    """The state of a crane."""

    crane: str
    load: int
    limit: int


class TunnelReport(BaseModel):
    """What drivers have to know about a tunnel."""

    tunnel: str
    open: bool


class QuarryReport(BaseModel):
    """What the quarry brought."""

    month: str
    tonnes: int


TOOLS: dict[str, BaseTool] = {
    each.name: each
    for each in (
        snow_depth,
        lift_queue,
        bike_rental,
        visa_needed,
        wine_for,
        lake_temperature,
        gym_capacity,
        elevator_state,
        concert_seats,
        spare_part,
        blood_reserve,
        satellite_altitude,
        captain_of,
        radio_call,
        vet_slot,
        tyre_pressure,
        glacier_retreat,
        karaoke_slot,
        crane_load,
        mushroom_check,
        piano_tuner,
        quarry_output,
        consulate_phone,
        ski_pass,
        bread_order,
        tunnel_state,
        dog_owner,
        greenhouse_humidity,
    )
}
FORMATS = {each.__name__: each for each in (SnowReport, PartInfo, GymLoad, LakeReport, CraneReport, TunnelReport, QuarryReport)}
