"""What the demo shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from langchain_softprompt.demo.comparison import Arm, is_right
from langchain_softprompt.demo.tasks import Row, Task


def show_model(console: Console, model: str, megabytes: float, kilobytes: Mapping[str, float], *, in_memory: int) -> None:
    """One frozen model, counted once all steps have answered, and how small the soft prompts are."""
    sizes = ", ".join(f"{name} {size:.0f} KiB" for name, size in kilobytes.items())
    count = "1 language model" if in_memory == 1 else f"{in_memory} language models"
    text = f"{count} in memory after all steps have answered: {model}, {megabytes:.0f} MB. Soft prompts: {sizes}."
    console.print(Panel(Text(text)))


def show_scores(console: Console, task: Task, rows: Sequence[Row], arms: Sequence[Arm]) -> None:
    """Scores of the arms on the held-out sample, and a row of it side by side."""
    table = Table(title=f"Step '{task.name}': {task.job}", title_justify="left", title_style="bold")
    table.add_column("same model with")
    for column in ("right answers", "tokens read a row", "rows a second"):
        table.add_column(column, justify="right")
    best = max(arm.score for arm in arms)
    for arm in arms:
        style = "bold green" if arm.score == best else ""
        speed = len(rows) / arm.seconds
        table.add_row(
            arm.name, f"{sum(arm.right)} of {len(rows)} ({arm.score:.0%})", f"{arm.input_tokens:.0f}", f"{speed:.1f}", style=style
        )
    console.print(table)
    for number in _telling_rows(arms):
        console.print(Text("  in    ", style="dim") + Text(_short(rows[number].text)))
        console.print(Text("  want  ", style="dim") + Text(_short(rows[number].answer), style="cyan"))
        for arm in (arms[0], arms[-1]):
            label = arm.name.split()[0]
            console.print(
                Text(f"  {label:<6}", style="dim") + Text(_short(arm.answers[number]), style="green" if arm.right[number] else "red")
            )
        console.print()


def show_chain(
    console: Console, rows: Sequence[Row], hard: Sequence[Mapping[str, str]], soft: Sequence[Mapping[str, str]], shown: int
) -> None:
    """The chain's answers, hard prompts beside soft prompts."""
    table = Table(title="The chain: clean | route and read the mood", title_justify="left", title_style="bold", show_lines=True)
    for column in ("said", "intended", "hard prompts answer", "soft prompts answer"):
        table.add_column(column, overflow="fold")
    for row, by_hard, by_soft in list(zip(rows, hard, soft, strict=True))[:shown]:
        table.add_row(Text(row.text), Text(row.answer, style="cyan"), _ticket(by_hard, row), _ticket(by_soft, row))
    console.print(table)
    for name, tickets in (("hard prompts", hard), ("soft prompts", soft)):
        right = sum(is_right(ticket["intent"], row.answer) for ticket, row in zip(tickets, rows, strict=True))
        console.print(f"  right intent at the end of the chain, {name}: [bold]{right} of {len(rows)}[/]")


def _telling_rows(arms: Sequence[Arm]) -> list[int]:
    """The first row where hard and soft prompt differ in being right, else the first row: not chosen by who wins."""
    differing = [number for number, pair in enumerate(zip(arms[0].right, arms[-1].right, strict=True)) if pair[0] != pair[1]]
    return [differing[0] if differing else 0]


def _ticket(ticket: Mapping[str, str], row: Row) -> Text:
    intent = Text(_short(ticket["intent"], 60), style="green" if is_right(ticket["intent"], row.answer) else "red")
    return Text(_short(ticket["text"], 90) + "\n") + intent + Text("\n" + _short(ticket["mood"], 30))


def _short(text: str, length: int = 140) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
