"""How commands speak: people read rich text on stderr, machines read JSON on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment

# Letters that steer a terminal, each shown as its picture; a line's end and a tab are none here.
_PICTURES = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
    # Half characters, and letters that turn the line around.
    | dict.fromkeys([*range(0xD800, 0xE000), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
)
# What ends a line, where a text is to stay in its own.
_LINE_ENDS = {0x0A: 0x240A, 0x2028: 0xFFFD, 0x2029: 0xFFFD}


class PlainConsole(Console):
    """A console on which text steers nothing: a stranger's manifest may hold a terminal's escape codes."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich renders it, control characters of the text shown and not sent."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(segment.text.translate(_PICTURES), segment.style)


def in_one_line(text: str) -> str:
    """A stranger's text for a place in a table or a sentence: where it ends a line that is shown, and not done."""
    return text.translate(_LINE_ENDS)


people = PlainConsole(stderr=True)


def show_error(error: Exception) -> None:
    """One plain sentence, no traceback."""
    people.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """A line for people, as it is: brackets in file names are no mark-up."""
    people.print(text, markup=False, highlight=False, soft_wrap=True)


def show_json(facts: dict[str, Any]) -> None:
    """One JSON object on stdout, in ASCII: a stranger's text may hold what no terminal or encoding takes."""
    print(json.dumps(facts))  # noqa: T201 - stdout is the interface


def progress_bar() -> Progress:
    """A bar with the latest numbers, time spent and time left; silent where stderr is no terminal."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=people,
    )


def progress_on(bar: Progress) -> Callable[[str, int, int], None]:
    """Tell a bar what is done, how much of it, and of how much."""
    tasks: dict[str, TaskID] = {}

    def on_progress(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total, numbers="")
        bar.update(tasks[what], completed=done)

    return on_progress
