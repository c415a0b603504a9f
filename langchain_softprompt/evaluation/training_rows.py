"""Whether rows are those that a soft prompt was trained on: by the marks in its manifest, or the digest of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from langchain_softprompt.data import digest_rows, mark_of
from langchain_softprompt.evaluation.arms import Arm

MOSTLY = 0.9


def share_of_training_rows(arm: Arm, rows: Sequence[Mapping[str, str]]) -> float:
    """How many of the rows that an arm's soft prompt was trained on are among these.

    Returns:
        A share, estimated from at most 64 marks; 0 where the manifest tells nothing.
    """
    manifest = arm.manifest
    if manifest is None or manifest.data is None:
        return 0.0
    target = manifest.training.get("target")
    fields = [*arm.fields, *([target] if isinstance(target, str) and target else [])]
    if not manifest.data.marks or any(field not in row for row in rows for field in fields):
        return float(digest_rows(rows) == manifest.data.digest)
    known = {mark_of(row, fields) for row in rows}
    return sum(mark in known for mark in manifest.data.marks) / len(manifest.data.marks)


def notes_on_training_rows(arms: Sequence[Arm], rows: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """A warning for each soft prompt that is judged on what it was trained on."""
    made = []
    for arm in arms:
        share = 0.0 if arm.folds else share_of_training_rows(arm, rows)
        if share:
            much = "All" if share == 1 else f"About {max(share, 0.01):.0%}"
            made.append(
                f"{much} of the rows that {arm.name} was trained on are among these: its scores say little about new ones. "
                "Judge it on rows it never saw, or by folds."
            )
    return tuple(made)


__all__ = ["MOSTLY", "notes_on_training_rows", "share_of_training_rows"]
