"""The verdicts as the table in docs/models.md; `python -m tests.families.page` writes it, in some minutes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from transformers.utils import logging as transformers_logging

from tests.families.sizes import NOT_TINY
from tests.families.tiny import FAMILIES
from tests.families.verdict import Verdict, judge

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
_BEGIN, _END = "<!-- written by: python -m tests.families.page -->\n", "<!-- end -->\n"


def line(verdict: Verdict) -> str:
    return f"| {verdict.family} | `{verdict.model}` | {verdict.way} | {verdict.reason} |\n"


def lines() -> dict[str, str]:
    """The lines of the table by family, as the page has them now."""
    return {text.split("|")[1].strip(): f"{text}\n" for text in _parts()[1].splitlines() if text.startswith("| ") and "`" in text}


def write(verdicts: Sequence[Verdict]) -> None:
    before, _, after = _parts()
    counts = {way: sum(verdict.way == way for verdict in verdicts) for way in ("slotted", "snapshot", "reread", "refused")}
    summary = ", ".join(f"{count} {way}" for way, count in counts.items())
    table = "".join(line(verdict) for verdict in verdicts)
    unbuilt = "".join(f"- {family}: {reason}\n" for family, reason in sorted(NOT_TINY.items()))
    PAGE.write_text(
        f"{before}{_BEGIN}\n{len(verdicts)} families: {summary}.\n\n"
        f"| family | class | way | why not a faster one |\n| --- | --- | --- | --- |\n"
        f"{table}\nNot tried, as there is no tiny model of them:\n\n{unbuilt}\n{_END}{after}",
        encoding="utf-8",
    )


def _parts() -> tuple[str, str, str]:
    before, rest = PAGE.read_text(encoding="utf-8").split(_BEGIN)
    table, after = rest.split(_END)
    return before, table, after


def main() -> None:
    transformers_logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    verdicts = []
    for family in FAMILIES:
        verdicts.append(judge(family))
        sys.stdout.write(line(verdicts[-1]))
        sys.stdout.flush()
    write(verdicts)


if __name__ == "__main__":
    main()
